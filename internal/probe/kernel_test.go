package probe

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
)

// trace is a Probe on one worker.
type trace struct {
	*worker
	probe    *Probe
	hz       uint64
	names    *names
	events   []event.Event
	stacks   map[uint64]stack.Raw
	problems []string
}

// scenario has a worker carry out commands, attaches to it, and runs a test.
//
// Newer kernels now and then leave out a program, and count that, see (5) of
// docs/kernels.md: often on 7.2, where the test then runs again. Before 6.19 it is a
// failure.
func scenario(t *testing.T, before string, test func(*trace)) {
	t.Helper()
	scenarioWith(t, Config{}, before, test)
}

// scenarioWith is scenario with more than the usual traced.
func scenarioWith(t *testing.T, cfg Config, before string, test func(*trace)) {
	t.Helper()
	needs.Root(t)
	const tries = 5
	for try := 1; ; try++ {
		k := follow(t, cfg, before)
		test(k)
		skipped := k.lossless()
		if len(k.problems) == 0 {
			return
		}
		if skipped > 0 && try < tries && !needs.Older(t, 6, 19) {
			t.Logf("try %d: the kernel skipped %d programs", try, skipped)
			continue
		}
		for _, problem := range k.problems {
			t.Error(problem)
		}
		return
	}
}

// follow starts a worker and attaches to it, with the snapshot that makes known
// what it had before.
func follow(t *testing.T, cfg Config, before string) *trace {
	t.Helper()
	w := startWorker(t)
	w.do(before)
	cfg.Scope = Scope{PIDs: []uint32{uint32(w.pid)}, Children: true}
	cfg.RingSize, cfg.MaxSockets, cfg.Stacks, cfg.Copies = 1<<20, 1024, true, 1<<20
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	hz, err := HZ()
	if err != nil {
		t.Fatal(err)
	}
	k := &trace{worker: w, probe: p, hz: hz, names: newNames(w.pid), stacks: map[uint64]stack.Raw{}}
	k.snapshot()
	return k
}

func (k *trace) problem(format string, args ...any) {
	k.problems = append(k.problems, fmt.Sprintf(format, args...))
}

// read takes all events there are.
func (k *trace) read() {
	k.t.Helper()
	var ev event.Event
	var raw stack.Raw
	err := k.probe.Read(time.Now(), math.MaxInt, func(record []byte) {
		isStack, err := Decode(record, &ev, &raw)
		switch {
		case err != nil:
			k.t.Fatalf("decode % x: %v", record, err)
		case isStack:
			k.stacks[raw.ID] = raw
		default:
			k.events = append(k.events, ev)
			ev.OpenFDs = nil // belongs to the one that was kept
		}
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// snapshot returns the worker's rows, by descriptor.
func (k *trace) snapshot() []event.Row {
	k.t.Helper()
	var rows []event.Row
	_, _, err := k.probe.Snapshot(func(record []byte) {
		var row event.Row
		if err := DecodeRow(record, k.hz, &row); err != nil {
			k.t.Fatal(err)
		}
		if row.PID == uint32(k.pid) {
			rows = append(rows, row)
		}
	})
	if err != nil {
		k.t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b event.Row) int {
		return cmp.Or(cmp.Compare(a.FD, b.FD), cmp.Compare(k.names.table(a.Table), k.names.table(b.Table)))
	})
	return rows
}

// check compares all that happened since the last check, and what is open now.
// What the other end of a connection does comes from a timer or a softirq that
// may be late, so both get some time to become right.
func (k *trace) check(wantEvents, wantRows string) {
	k.t.Helper()
	eventually(func() bool {
		k.read()
		return k.names.copy().events(k.events) == dedent(wantEvents)
	})
	k.compare("events", k.names.events(k.events), wantEvents)
	k.checkStacks()
	k.checkTimes()
	k.events = nil
	eventually(func() bool { return k.names.copy().rows(k.snapshot()) == dedent(wantRows) })
	k.compare("rows", k.names.rows(k.snapshot()), wantRows)
}

// eventually waits until it is true, or a healthy kernel would have done it.
func eventually(done func() bool) {
	for deadline := time.Now().Add(3 * time.Second); !done() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
}

// checkTimes looks at the order of the events of processes, all of which come
// from one thread at a time.
func (k *trace) checkTimes() {
	var last uint64
	for _, ev := range k.events {
		if ev.Time < last {
			k.problem("%v at %d ns, after an event at %d ns", ev.Kind, ev.Time, last)
		}
		last = ev.Time
	}
}

// checkStacks looks at the stack of each socket that was made: it must lead
// through the worker's code.
func (k *trace) checkStacks() {
	k.t.Helper()
	for _, ev := range k.events {
		if ev.Stack == 0 {
			continue
		}
		s, ok := k.stacks[ev.Stack]
		if !ok {
			k.problem("the stack of the socket on descriptor %d never came", ev.FD)
			continue
		}
		if want := (event.ProcessKey{PID: ev.PID, Start: ev.Start}); s.Process != want {
			k.problem("stack of %+v, want %+v", s.Process, want)
		}
		functions, want := functionsOf(s.Addresses), workerCode
		if runtime.GOARCH == "arm64" && needs.Older(k.t, 5, 17) {
			// The kernel follows no frame pointer that isn't aligned to 16
			// bytes, as those of Go are not: before 33c222aeda14.
			functions, want = functionsOf([]uint64{s.Caller}), "syscall."
		}
		if !slices.ContainsFunc(functions, func(f string) bool { return strings.HasPrefix(f, want) }) {
			k.problem("stack of the socket on descriptor %d: %q has no %s*", ev.FD, functions, want)
		}
	}
}

// workerCode begins the names of what the worker was told to do.
const workerCode = "sockleak/internal/probe.perform"

// functionsOf names the functions of a stack of the worker, which runs our own
// program, linked to fixed addresses.
func functionsOf(stack []uint64) []string {
	pcs := make([]uintptr, len(stack))
	for i, address := range stack {
		pcs[i] = uintptr(address)
	}
	var names []string
	for frames := runtime.CallersFrames(pcs); ; {
		frame, more := frames.Next()
		names = append(names, frame.Function)
		if !more {
			return names
		}
	}
}

// lossless returns how many programs were skipped.
func (k *trace) lossless() (skipped uint64) {
	k.t.Helper()
	loss, err := k.probe.Loss()
	if err != nil {
		k.t.Fatal(err)
	}
	skipped = loss.ProbeSkipped + loss.StateSkipped
	if !needs.Older(k.t, 6, 19) {
		// Of other processes, unless something else is wrong too.
		loss.ProbeSkipped, loss.StateSkipped = 0, 0
	}
	if loss != (event.Loss{}) {
		k.problem("lost %+v", loss)
	}
	return skipped
}

func (k *trace) compare(what, got, want string) {
	if want = dedent(want); got != want {
		k.problem("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// dedent removes the indentation of each line.
func dedent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
