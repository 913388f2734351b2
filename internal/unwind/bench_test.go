package unwind

import (
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/framepointer"
	"sockleak/internal/mapfollow"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// BenchmarkSocket measures what a socket costs the program that makes it, 20
// frames deep: untraced, with stacks by frame pointers, and with walked ones, of a
// stack that is known (hot) and of one that is new each time (cold; copied as long
// as the ring has room). The figure is the least of all rounds, because the
// machine has other work. agent-ns is the CPU time of this side.
func BenchmarkSocket(b *testing.B) {
	needs.Root(b)
	exe := b.TempDir() + "/odd"
	build(b, "gcc", "-O2", "-fomit-frame-pointer", "-pthread", "-o", exe, source(b, "odd.c"))
	for _, mode := range []string{"hot", "cold"} {
		b.Run(mode+"/untraced", func(b *testing.B) { many(b, exe, mode) })
		b.Run(mode+"/fp", func(b *testing.B) { many(b, exe, mode, probe.Config{Stacks: true}) })
		b.Run(mode+"/walked", func(b *testing.B) { many(b, exe, mode, probe.Config{Stacks: true, Copies: 8 << 20}) })
	}
}

func many(b *testing.B, exe, mode string, traced ...probe.Config) {
	const sockets = 20000
	ns, agent, whole, all := math.Inf(1), 0.0, 0, 0
	for b.Loop() {
		cmd := exec.Command("/bin/sh", "-c", `read go; exec "$0" "$@"`, exe, mode, strconv.Itoa(sockets))
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		done := func() {}
		if len(traced) > 0 {
			done = consume(b, uint32(cmd.Process.Pid), traced[0], &agent, &whole, &all)
		}
		if _, err := in.Write([]byte("\n")); err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(out)
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		done()
		n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			b.Fatal(err)
		}
		ns = min(ns, n)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ns, "ns/socket")
	if all > 0 {
		b.ReportMetric(agent/float64(all), "agent-ns/socket")
		b.ReportMetric(100*float64(whole)/float64(all), "%walked")
	}
}

// consume traces a process until the function that it returns is called.
func consume(b *testing.B, pid uint32, cfg probe.Config, agent *float64, whole, all *int) func() {
	cfg.Scope, cfg.RingSize, cfg.MaxSockets = probe.Scope{PIDs: []uint32{pid}}, 8<<20, 1<<16
	p, err := probe.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	maps, err := mapfollow.Open()
	if err != nil {
		b.Fatal(err)
	}
	s := symbol.New(symbol.Options{})
	fp := framepointer.New(s, maps.Maps)
	tr := &tracer{t: b, probe: p, fp: fp, stacks: New(s, fp, p), lost: map[uint64]int{}}
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		cpu := cpuTime(b)
		for stopping := false; !stopping; {
			select {
			case <-stop:
				stopping = true
			default:
			}
			tr.read(time.Now().Add(50*time.Millisecond), func(s socket) {
				*all++
				if s.stack != 0 {
					*whole++
				}
			})
		}
		*agent += float64(cpuTime(b) - cpu)
	})
	return func() {
		close(stop)
		work.Wait()
		for _, c := range []io.Closer{p, maps, s} {
			if err := c.Close(); err != nil {
				b.Error(err)
			}
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWalk walks a copy of a stack, its tables read.
func BenchmarkWalk(b *testing.B) {
	needs.Root(b)
	exe := b.TempDir() + "/odd"
	build(b, "gcc", "-O2", "-fomit-frame-pointer", "-pthread", "-o", exe, source(b, "odd.c"))
	p := started(b, exe, "large")
	defer end(p.cmd)
	tr := follow(b, probe.Scope{PIDs: []uint32{p.pid}})
	var copied *stack.Copy
	for copied == nil {
		tr.read(time.Now().Add(50*time.Millisecond), func(socket) {})
		copied = tr.last
	}
	maps, err := tr.fp.Mappings(copied.Process)
	if err != nil {
		b.Fatal(err)
	}
	w := tr.stacks.walk(maps, copied)
	b.ReportAllocs()
	for b.Loop() {
		w = tr.stacks.walk(maps, copied)
	}
	b.ReportMetric(float64(len(w.frames)), "frames")
}

// BenchmarkTable reads the unwind information of large files.
func BenchmarkTable(b *testing.B) {
	for name, path := range map[string]string{"libc": "/lib/x86_64-linux-gnu/libc.so.6", "node": "/usr/bin/node"} {
		b.Run(name, func(b *testing.B) {
			f, err := os.Open(path)
			if err != nil {
				b.Skip(err)
			}
			defer f.Close()
			var t *table
			b.ReportAllocs()
			for b.Loop() {
				if t, err = readTable(f); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(t.size())/1024, "KB")
		})
	}
}
