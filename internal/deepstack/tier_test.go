package deepstack

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/workload"
)

func open(t testing.TB, o Options) *Tier {
	t.Helper()
	needs.Root(t)
	if os.Getenv("DEEP_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	began := time.Now()
	tier, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := tier.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tier
}

// collect polls until done, at most for so long.
func collect(t testing.TB, tier *Tier, limit time.Duration, done func(Birth) bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		enough := false
		if err := tier.Poll(func(b Birth) { enough = done(b) || enough }); err != nil {
			t.Fatal(err)
		}
		if enough {
			return
		}
	}
}

func dump(t testing.TB, o stack.Origin) {
	t.Helper()
	t.Logf("%s %s", o.Quality, o.Reason)
	for _, f := range o.Frames {
		t.Logf("  %-6s %-50s %s:%d  %s+%#x", f.Kind, f.Function, f.File, f.Line, f.Module, f.Address)
	}
}

// What a process in scope forks and executes is in scope, and is known to the
// profiler before its first socket.
func TestChildren(t *testing.T) {
	needs.Root(t)
	exe := t.TempDir() + "/native"
	build(t, "gcc", "-O2", "-g", "-fomit-frame-pointer", "-o", exe, source(t, "native.c"))
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// One round after a pause, a child after the other; the shell itself makes
	// no socket.
	shell := exec.Command("/bin/sh", "-c", `read go; for i in 1 2 3 4 5 6 7 8 9 10; do "$0" 0 200000 2; done; sleep 60`, exe)
	shell.Stdin = in
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(shell)
	other := started(t, exe)
	defer end(other.cmd)
	tier := open(t, Options{PIDs: []uint32{uint32(shell.Process.Pid)}, Children: true})
	if _, err := out.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	const want = 10 * 7 // a listener, and twice a socket, a pair and an accept
	var all []Birth
	collect(t, tier, 20*time.Second, func(b Birth) bool {
		all = append(all, b)
		return len(all) == want
	})
	time.Sleep(10 * turn)
	have := map[stack.Quality]int{}
	first := map[uint32]stack.Quality{}
	reasons := map[string]int{}
	for _, b := range all {
		if b.PID == other.pid {
			t.Fatalf("a birth of process %d, which is not in scope", b.PID)
		}
		o := tier.Resolve(b.Stack)
		have[o.Quality]++
		reasons[o.Reason]++
		if _, ok := first[b.PID]; !ok {
			first[b.PID] = o.Quality
		}
	}
	t.Logf("%d births: %v; of the first of each process: %v; why: %v", len(all), have, first, reasons)
	if len(all) != want {
		t.Errorf("%d births, want %d", len(all), want)
	}
	// The first two sockets come within a millisecond of the start of the
	// program, which may be too soon; those after the pause must not be.
	if have[stack.Complete] < 10*3 {
		t.Errorf("%d of %d stacks complete", have[stack.Complete], len(all))
	}
}

// More sockets than the ring has room for, with nobody reading: every one is
// either there or counted.
func TestBurst(t *testing.T) {
	needs.Root(t)
	exe := t.TempDir() + "/native"
	build(t, "gcc", "-O2", "-o", exe, source(t, "native.c"))
	shell := exec.Command("/bin/sh", "-c", `read go; exec "$0" 0 0 33334`, exe)
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(shell)
	hot := workload.Start(t, workload.Build(t, "rates"))
	hot.Ready()
	tier := open(t, Options{PIDs: []uint32{uint32(shell.Process.Pid), uint32(hot.PID)}})
	once := repeated(t, tier, hot)
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if err := shell.Wait(); err != nil {
		t.Fatal(err)
	}
	read := uint64(0)
	if err := tier.Poll(func(Birth) { read++ }); err != nil {
		t.Fatal(err)
	}
	l, err := tier.Loss()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d births read, %+v", read, l)
	made := once + 1 + 3*33334
	if l.Asked != made || l.RingFull == 0 || read+l.RingFull != made || l.NotRun != 0 {
		t.Errorf("%d sockets, %d births read, %+v", made, read, l)
	}
}

// repeated has a program make sockets on one stack until the kernel's side knows that,
// and then many more, of which it must send next to none to Go. It returns how many were
// made.
//
// Once Go has a stack, it counts as known for so long (fresh), and then is sent with
// every socket again until Go has it: milliseconds. For one in ten to be sent, Go would
// have to take a second.
func repeated(t *testing.T, tier *Tier, p *workload.Proc) (made uint64) {
	t.Helper()
	loss := func() Loss {
		l, err := tier.Loss()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for limit := time.Now().Add(20 * time.Second); loss().Repeated == 0; time.Sleep(turn) {
		if time.Now().After(limit) {
			t.Fatalf("no stack of %d sockets is known: %+v", made, loss())
		}
		p.Do("hot 1")
		made++
	}
	const more = 10_000
	before := loss()
	p.Do(fmt.Sprintf("hot %d", more))
	after := loss()
	if n := after.Repeated - before.Repeated; n < more*9/10 || after.Asked-before.Asked != more {
		t.Errorf("%d of %d stacks were known, want nine in ten: %+v, then %+v", n, more, before, after)
	}
	return made + more
}

// Everything that Start makes is gone after Close.
func TestClose(t *testing.T) {
	needs.Root(t)
	before := goroutines(t)
	files := descriptors(t)
	tier, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tier.Close(); err != nil {
		t.Fatal(err)
	}
	// The profiler closes its maps by letting go of them, and its goroutines
	// look every 100 ms whether they are to end.
	var now, fds int
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		runtime.GC()
		if now, fds = goroutines(t), descriptors(t); now <= before && fds <= files {
			return
		}
	}
	t.Errorf("%d goroutines and %d descriptors before, %d and %d after", before, files, now, fds)
	buf := make([]byte, 1<<16)
	t.Logf("%s", buf[:runtime.Stack(buf, true)])
}

func goroutines(t *testing.T) int {
	t.Helper()
	return runtime.NumGoroutine()
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
