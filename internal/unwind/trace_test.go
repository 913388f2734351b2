package unwind

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/framepointer"
	"sockleak/internal/langtest"
	"sockleak/internal/mapfollow"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
	"sockleak/internal/workload"
)

// tracer traces processes and walks the stacks of their sockets.
type tracer struct {
	t      testing.TB
	probe  *probe.Probe
	maps   *mapfollow.Follower
	fp     *framepointer.Resolver
	stacks *Stacks
	walked int            // copies
	lost   map[uint64]int // sockets without a stack, by what their event names
	last   *stack.Copy    // with bytes of its own
}

// socket is a socket that was made, and the numbers of its stacks: that of its copy, and
// that by frame pointers.
type socket struct {
	process       event.ProcessKey
	stack, framed uint64
}

func follow(t testing.TB, scope probe.Scope) *tracer {
	t.Helper()
	needs.Root(t)
	tr := &tracer{t: t, lost: map[uint64]int{}}
	var err error
	if tr.maps, err = mapfollow.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.maps.Close() })
	tr.probe, err = probe.Open(probe.Config{Scope: scope, RingSize: 8 << 20, MaxSockets: 1 << 16, Stacks: true, Copies: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.probe.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if len(tr.lost) != 0 {
			t.Errorf("lost: %v", tr.lost)
		}
	})
	s := symbol.New(symbol.Options{})
	t.Cleanup(func() { _ = s.Close() })
	tr.fp = framepointer.New(s, tr.maps.Maps)
	tr.stacks = New(s, tr.fp, tr.probe)
	return tr
}

// read takes what there is until the deadline and calls f with every socket that
// was made.
func (tr *tracer) read(deadline time.Time, f func(socket)) {
	tr.t.Helper()
	var ev event.Event
	var raw stack.Raw
	err := tr.probe.Read(deadline, 1<<20, func(record []byte) {
		isStack, err := probe.Decode(record, &ev, &raw)
		switch {
		case err != nil:
			tr.t.Fatal(err)
		case isStack:
			tr.fp.Capture(raw)
		case ev.Kind == event.Exec:
			tr.fp.Exec(event.ProcessKey{PID: ev.PID, Start: ev.Start})
		case ev.Kind == event.Exit:
			tr.fp.Forget(event.ProcessKey{PID: ev.PID, Start: ev.Start})
		case ev.Kind == event.Socket || ev.Kind == event.Accept || ev.Kind == event.Pair:
			f(socket{event.ProcessKey{PID: ev.PID, Start: ev.Start}, tr.find(ev.Walk), ev.Stack})
		}
	})
	if err != nil {
		tr.t.Fatal(err)
	}
}

// find returns the number of the stack that an event names, zero if it was lost.
func (tr *tracer) find(walk uint64) uint64 {
	tr.t.Helper()
	if walk <= event.WalkSpared {
		tr.lost[walk]++
		return 0
	}
	id, ok := tr.stacks.Find(walk)
	if !ok {
		err := tr.probe.Copies(func(c *stack.Copy) {
			tr.walked++
			if tr.last == nil {
				own := *c
				own.Bytes = bytes.Clone(c.Bytes)
				tr.last = &own
			}
			if err := tr.stacks.Add(c); err != nil {
				tr.t.Fatal(err)
			}
		})
		if err != nil {
			tr.t.Fatal(err)
		}
		id, _ = tr.stacks.Find(walk)
	}
	if id == 0 {
		tr.lost[walk]++
	}
	return id
}

// program is a running program.
type program struct {
	cmd *exec.Cmd
	pid uint32
	exe string // as the process sees it
	// code is where its functions are, if it is stripped.
	code langtest.Code
}

// build runs a compiler.
func build(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(needs.Tool(t, name), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run %v: %v\n%s", cmd, err, out)
	}
}

// source returns the path of a test program, which may be one of deepstack's.
func source(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"testdata", "../deepstack/testdata"} {
		p, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Fatalf("no test program %s", name)
	return ""
}

// markedLine returns the line of a test program that has a mark.
func markedLine(t testing.TB, name, mark string) int {
	t.Helper()
	return workload.Line(t, source(t, name), mark)
}

// started starts a program, which ends with the test.
func started(t testing.TB, name string, args ...string) program {
	t.Helper()
	cmd := exec.Command(needs.Tool(t, name), args...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", cmd, err)
	}
	exe, err := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/exe")
	if err != nil {
		end(cmd)
		t.Fatal(err)
	}
	return program{cmd: cmd, pid: uint32(cmd.Process.Pid), exe: exe}
}

// end stops a program.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()         // killed: that is its status
}

func dump(t testing.TB, o stack.Origin) {
	t.Helper()
	t.Logf("%s %s", o.Quality, o.Reason)
	for _, f := range o.Frames {
		t.Logf("  %-6s %-50s %s:%d  %s+%#x", f.Kind, f.Function, f.File, f.Line, f.Module, f.Address)
	}
}
