package asked

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sockleak/internal/deepstack"
	"sockleak/internal/needs"
)

// What it costs a program that where it asks for sockets is traced: the CPU time of
// the process for the same load with uprobes and without, in turns. Complete stacks
// of its sockets are taken in both. Two turns that follow each other give a ratio; the
// median of those is what counts, because the machine's other work comes and goes, and
// beside it the ratio of the lower quartiles: what was disturbed least.

// pairs of turns, after warmUp turns in which the program is compiled.
const (
	pairs  = 24
	warmUp = 8
)

// load does n times what is measured and returns the CPU time of the process that is
// traced, in µs.
type load func(n int) float64

// BenchmarkClient: a Node program makes HTTPS requests, each on a connection of its
// own, which is the worst case: every request makes a handle.
func BenchmarkClient(b *testing.B) {
	_, client := https(b)
	turns(b, client, 100, client.burst(b))
}

// BenchmarkServer: a Node program serves them.
func BenchmarkServer(b *testing.B) {
	server, client := https(b)
	burst, own := client.burst(b), server.burst(b)
	turns(b, server, 100, func(n int) float64 {
		own(0)
		burst(n)
		return own(0)
	})
}

// BenchmarkHandle: a program in C makes, binds and closes handles.
func BenchmarkHandle(b *testing.B) {
	p := inC(b)
	turns(b, p, 2000, p.burst(b))
}

// BenchmarkSwitch: a thread of a program that has uprobes, and meets none of them,
// waits for another. Their perf events belong to the thread, and are looked at when it
// comes and goes.
func BenchmarkSwitch(b *testing.B) {
	p := inC(b, "switch")
	turns(b, p, 5000, p.burst(b))
}

// inC starts testdata/cost.c.
func inC(b *testing.B, args ...string) *program {
	if os.Geteuid() != 0 {
		b.Skip("needs root to load BPF programs")
	}
	exe := filepath.Join(b.TempDir(), "cost")
	if _, err := os.Stat("/usr/include/uv.h"); err != nil {
		b.Skip("needs uv.h, which is not installed: run scripts/setup.sh")
	}
	run(b, "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", source(b, "cost.c"), "-o", exe, "-luv")
	p := start(b, "cost.c", exe, args...)
	p.out.Scan() // ready
	return p
}

// https starts a server and a client of testdata/https.js.
func https(b *testing.B) (server, client *program) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to load BPF programs")
	}
	node, dir := needs.Tool(b, "node"), b.TempDir()
	run(b, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=localhost", "-keyout", dir+"/key.pem", "-out", dir+"/cert.pem")
	server = start(b, "https.js", node, source(b, "https.js"), "server", dir)
	if !server.out.Scan() {
		b.Fatal("the server did not start")
	}
	client = start(b, "https.js", node, source(b, "https.js"), "client", server.out.Text())
	if !client.out.Scan() {
		b.Fatal("the client did not start")
	}
	return server, client
}

// burst has a program do something n times, as testdata/https.js and cost.c do.
func (p *program) burst(b *testing.B) load {
	return func(n int) float64 {
		if _, err := fmt.Fprintln(p.in, n); err != nil {
			b.Fatalf("write to %s: %v", p.name, err)
		}
		if !p.out.Scan() {
			b.Fatalf("%s has ended: %v", p.name, p.out.Err())
		}
		us, err := strconv.ParseFloat(p.out.Text(), 64)
		if err != nil {
			b.Fatalf("%s wrote %q", p.name, p.out.Text())
		}
		return us
	}
}

// turns measures in turns with uprobes and without, by bursts of n.
func turns(b *testing.B, p *program, n int, do load) {
	// The rate that there is by default: see hunt.DefaultStackRate.
	k := trace(b, Budget{Rate: 1000}, p)
	turn := func(traced bool) float64 {
		k.follows(b, p.pid, traced)
		do(n / 4) // its code was written to, which is done once only
		used := do(n) / float64(n)
		k.poll(b)
		if err := k.tier.Poll(func(deepstack.Birth) {}); err != nil {
			b.Fatal(err)
		}
		clear(k.asks)
		clear(k.many)
		return used
	}
	for i := range warmUp {
		turn(i%2 == 0)
	}
	var ratios, with, without []float64
	for i := range pairs {
		first := turn(i%2 == 0)
		second := turn(i%2 != 0)
		if i%2 != 0 {
			first, second = second, first
		}
		with, without, ratios = append(with, first), append(without, second), append(ratios, first/second)
	}
	k.follows(b, p.pid, true)
	traps, inside := k.programs(b, func() { do(5 * n) })
	loss := k.loss(b)
	b.Logf("%d handles; %+v; pairs from %+.1f to %+.1f %%", loss.Handles, loss, 100*(slices.Min(ratios)-1), 100*(slices.Max(ratios)-1))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(without), "µs-without")
	b.ReportMetric(median(with), "µs-with")
	b.ReportMetric(float64(traps)/float64(5*n), "uprobes/op")
	b.ReportMetric(inside.Seconds()*1e6/float64(5*n), "µs-in-programs/op")
	b.ReportMetric(100*(median(ratios)-1), "%-added")
	b.ReportMetric(100*(quartile(with)/quartile(without)-1), "%-added-undisturbed")
}

// programs says how often the programs at uprobes run while something is done, and
// how long in all, the walks they call included. What the trap itself takes is not in
// it. That is measured for each run, so other work disturbs it less than the turns.
func (k *traced) programs(b *testing.B, do func()) (runs uint64, took time.Duration) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	sum := func() (runs uint64, took time.Duration) {
		for _, p := range []*ebpf.Program{k.own.Init, k.own.Use0, k.own.Use1, k.own.HandleUp, k.own.End} {
			s, err := p.Stats()
			if err != nil {
				b.Fatal(err)
			}
			runs, took = runs+s.RunCount, took+s.Runtime
		}
		return runs, took
	}
	runsBefore, tookBefore := sum()
	do()
	runs, took = sum()
	return runs - runsBefore, took - tookBefore
}

// follows attaches to a process or detaches from it, and waits until that is done.
func (k *traced) follows(b *testing.B, pid uint32, traced bool) {
	before := k.Status().Files
	var there uint8
	is := k.own.Attached.Lookup(pid, &there) == nil
	switch {
	case is == traced:
		return
	case traced:
		k.Process(pid)
	default:
		k.Gone(pid)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		// A process is noted before its uprobes are attached, and forgotten after.
		s := k.Status()
		if traced && s.Files > before || !traced && k.own.Attached.Lookup(pid, &there) != nil {
			return
		}
		if s.Err != nil || time.Now().After(deadline) {
			b.Fatalf("follow: %+v", s)
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// quartile is the lower one.
func quartile(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/4] }
