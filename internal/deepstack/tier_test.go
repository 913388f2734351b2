package deepstack

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
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

// Programs in every language, attached to while they run: the first frame of
// their own is the line that makes the socket, and the walk reaches the start of
// the thread.
func TestLanguages(t *testing.T) {
	needs.Root(t)
	type running struct {
		language
		program
		last   []uint64 // stacks, those of the first sockets left out
		latest uint64
		births int
	}
	byPID := map[uint32]*running{}
	var pids []uint32
	var all []*running
	for _, l := range append(examples(t), unusual(t)...) {
		r := &running{language: l}
		t.Run("start "+l.name, func(sub *testing.T) { r.program = l.program(sub, t.TempDir()) })
		if r.pid == 0 {
			continue // skipped, and said why
		}
		kill := r.cmd
		t.Cleanup(func() { end(kill) })
		byPID[r.pid] = r
		pids = append(pids, r.pid)
		all = append(all, r)
	}
	tier := open(t, Options{PIDs: pids})
	// The profiler looks at one process after the other, and at large files
	// for a second. What comes after the first whole stack has to be whole.
	const enough = 9
	collect(t, tier, 30*time.Second, func(b Birth) bool {
		r := byPID[b.PID]
		if r == nil {
			t.Errorf("a birth of process %d, which is not in scope", b.PID)
			return false
		}
		r.births++
		r.latest = b.Stack
		if len(r.last) > 0 || b.Stack != 0 && r.whole(tier.Resolve(b.Stack)) {
			r.last = append(r.last, b.Stack)
		}
		return !slices.ContainsFunc(all, func(r *running) bool { return len(r.last) < enough })
	})
	time.Sleep(10 * poll)
	var table tableRows
	for _, r := range all {
		ok := t.Run(r.name, func(t *testing.T) {
			if len(r.last) < enough {
				dump(t, tier.Resolve(r.latest))
				t.Fatalf("%d stacks as they should be of %d births", len(r.last), r.births)
			}
			got := map[culprit]bool{}
			shown := map[uint64]bool{}
			for _, id := range r.last {
				o := tier.Resolve(id)
				if testing.Verbose() && !shown[id] {
					shown[id] = true
					dump(t, o)
				}
				if !r.whole(o) && r.partial == "" {
					t.Errorf("quality %s: %s", o.Quality, o.Reason)
				}
				got[found(o, r.exe)] = true
			}
			for _, w := range r.want {
				if !got[w] {
					t.Errorf("no stack from %+v; got %+v", w, got)
				}
			}
		})
		table.add(r.language, ok)
	}
	table.write(t)
}

// found is the culprit of a stack.
func found(o stack.Origin, exe string) culprit {
	i := stack.Culprit(o.Frames, exe)
	if i < 0 {
		return culprit{}
	}
	f := o.Frames[i]
	c := culprit{f.Function, filepath.Base(f.File), f.Line, f.Kind}
	if f.File == "" {
		c.file = ""
	}
	return c
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
	time.Sleep(10 * poll)
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
	tier := open(t, Options{PIDs: []uint32{uint32(shell.Process.Pid)}})
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
	const made = 1 + 3*33334
	if l.Asked != made || l.RingFull == 0 || read+l.RingFull != made || l.NotRun != 0 {
		t.Errorf("%d sockets, %d births read, %+v", made, read, l)
	}
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
