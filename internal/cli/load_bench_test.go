package cli

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
)

// What tracing costs a program that makes sockets at a rate while it works, and
// what it costs the agent, as a user starts it: attach with --stacks auto and the
// default budget. Each run is paired with what the program does before and after,
// untraced. The slowdown is what is added to the calls, against the time that there
// is for a socket at that rate.
func BenchmarkLoad(b *testing.B) {
	exe := paced(b)
	for _, rate := range []int{0, 1000, 10_000, 50_000} {
		b.Run(fmt.Sprintf("%d-per-second", rate), func(b *testing.B) { load(b, exe, rate, hunt.DefaultStackRate) })
	}
}

// The same at 50,000 sockets a second, by how many stacks are taken; 0 is all.
func BenchmarkStackRate(b *testing.B) {
	exe := paced(b)
	for _, stacks := range []int{100, 300, 1000, 3000, 10_000, 0} {
		b.Run(fmt.Sprint(stacks), func(b *testing.B) { load(b, exe, 50_000, stacks) })
	}
}

func paced(b *testing.B) string {
	needs.Root(b)
	exe := filepath.Join(b.TempDir(), "paced")
	if out, err := exec.Command(needs.Tool(b, "gcc"), "-O2", "-fomit-frame-pointer", "-o", exe, "testdata/paced.c").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return exe
}

// How long it takes from the start of the command until events are followed, and until
// complete stacks are there besides.
func BenchmarkStart(b *testing.B) {
	needs.Root(b)
	target := exec.Command("sleep", "1000")
	if err := target.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = target.Process.Kill() // it never ends by itself
		_ = target.Wait()
	}()
	var followed, complete []float64
	for b.Loop() {
		file := filepath.Join(b.TempDir(), "report")
		agent := exec.Command("sockleak", "attach", "--for", "0", "-o", "json", "--report", file, strconv.Itoa(target.Process.Pid))
		began := time.Now()
		if err := agent.Start(); err != nil {
			b.Fatal(err)
		}
		untilLinks(b, agent.Process.Pid, deepLinks)
		complete = append(complete, time.Since(began).Seconds())
		if err := agent.Process.Signal(syscall.SIGINT); err != nil {
			b.Fatal(err)
		}
		if err := agent.Wait(); err != nil {
			b.Fatal(err)
		}
		followed = append(followed, reportIn(b, file).Started.Sub(began).Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(followed), "s-until-followed")
	b.ReportMetric(median(complete), "s-until-complete")
}

const measured = 6 * time.Second

func load(b *testing.B, exe string, rate, stackRate int) {
	target := exec.Command(exe, strconv.Itoa(rate))
	out, err := target.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := target.Start(); err != nil {
		b.Fatal(err)
	}
	lines := make(chan float64, 1<<16)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			if ns, err := strconv.ParseFloat(s.Text(), 64); err == nil {
				lines <- ns
			}
		}
	}()
	defer func() {
		_ = target.Process.Kill() // it never ends by itself
		_ = target.Wait()
	}()
	samples(lines, time.Second)
	alone := samples(lines, measured/2)
	agent := exec.Command("sockleak", "attach", "--for", "0", "--stack-rate", strconv.Itoa(stackRate),
		"--report", filepath.Join(b.TempDir(), "report"), strconv.Itoa(target.Process.Pid))
	if err := agent.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = agent.Process.Kill() // it may have ended
		_ = agent.Wait()
	}()
	untilLinks(b, agent.Process.Pid, deepLinks)
	samples(lines, 2*time.Second)
	began, cpu := time.Now(), agentCPU(b, agent.Process.Pid)
	traced := samples(lines, measured)
	b.ReportMetric(100*(agentCPU(b, agent.Process.Pid)-cpu).Seconds()/time.Since(began).Seconds(), "agent-%cpu")
	b.ReportMetric(agentMB(b, agent.Process.Pid), "agent-MB")
	b.ReportMetric(0, "ns/op")
	if err := agent.Process.Signal(syscall.SIGINT); err != nil {
		b.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		b.Fatal(err)
	}
	alone = append(alone, samples(lines, measured/2)...)
	if rate > 0 && (len(alone) == 0 || len(traced) == 0) {
		b.Fatal("the target makes no progress")
	}
	if rate > 0 {
		added := median(traced) - median(alone)
		b.ReportMetric(100*added/(1e9/float64(rate)), "%-slowdown")
		b.ReportMetric(added, "ns/socket-added")
		b.ReportMetric(median(alone), "ns/socket-alone")
	}
}

// samples are what came in the time to come.
func samples(from <-chan float64, d time.Duration) (all []float64) {
	for len(from) > 0 {
		<-from
	}
	for end := time.After(d); ; {
		select {
		case ns := <-from:
			all = append(all, ns)
		case <-end:
			return all
		}
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// deepLinks is how many links the agent has once complete stacks are there.
const deepLinks = 40

// untilLinks waits until the agent has so many programs attached.
func untilLinks(t testing.TB, agent, n int) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); links(t, agent) < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("fewer than %d programs attached after 90 s", n)
		}
	}
}

// links is how many programs a process has attached.
func links(t testing.TB, pid int) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.Contains(to, "bpf_link") {
			n++
		}
	}
	return n
}

func agentCPU(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// proc_pid_stat(5): utime and stime are the 12th and 13th after the name.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}

func agentMB(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
