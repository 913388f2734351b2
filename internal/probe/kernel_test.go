package probe

import (
	"cmp"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// needRoot skips a test that loads programs, but never in CI.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("not root: in CI the tests that trace must run")
	}
	t.Skip("not root: tracing needs CAP_BPF and CAP_PERFMON")
}

// kernelHas fails or skips a test that needs a feature of a later kernel, of
// which trying said that it is or isn't there: where it has to be, a skip would
// hide that it is gone.
func kernelHas(t *testing.T, feature string, err error, major, minor int) {
	t.Helper()
	if err == nil {
		return
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	var have [2]int
	parts := strings.SplitN(release, ".", 3)
	for i := range have {
		for _, c := range parts[i] {
			if c < '0' || c > '9' {
				break
			}
			have[i] = have[i]*10 + int(c-'0')
		}
	}
	if slices.Compare(have[:], []int{major, minor}) >= 0 {
		t.Fatalf("%s: %v, on Linux %s; it came with %d.%d", feature, err, release, major, minor)
	}
	t.Skipf("needs %s, which came with Linux %d.%d: this is %s", feature, major, minor, release)
}

// trace is a Probe on one worker.
type trace struct {
	*worker
	probe  *Probe
	hz     uint64
	names  *names
	events []event.Event
	stacks map[uint64]stack.Raw
}

// follow attaches to a worker, with the snapshot that makes known what it had
// before.
func follow(t *testing.T, w *worker) *trace {
	t.Helper()
	p, err := Open(Config{
		Scope:    Scope{PIDs: []uint32{uint32(w.pid)}, Children: true},
		RingSize: 1 << 20, MaxSockets: 1024, Stacks: true,
	})
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
func (k *trace) check(wantEvents, wantRows string) {
	k.t.Helper()
	// What the other end of a connection does comes from a timer or a softirq
	// that may be late.
	got := ""
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		k.read()
		got = k.names.copy().events(k.t, k.events)
		if got == dedent(wantEvents) || time.Now().After(deadline) {
			break
		}
	}
	compare(k.t, "events", k.names.events(k.t, k.events), wantEvents)
	k.checkStacks()
	k.events = nil
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got = k.names.copy().rows(k.snapshot())
		if got == dedent(wantRows) || time.Now().After(deadline) {
			break
		}
	}
	compare(k.t, "rows", k.names.rows(k.snapshot()), wantRows)
	k.lossless()
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
			k.t.Errorf("the stack of the socket on descriptor %d never came", ev.FD)
			continue
		}
		if want := (event.ProcessKey{PID: ev.PID, Start: ev.Start}); s.Process != want {
			k.t.Errorf("stack of %+v, want %+v", s.Process, want)
		}
		functions := functionsOf(s.Addresses)
		if !slices.ContainsFunc(functions, func(f string) bool {
			return strings.HasPrefix(f, "sockleak/internal/probe.perform") || strings.HasPrefix(f, "sockleak/internal/probe.unshared")
		}) {
			k.t.Errorf("stack of the socket on descriptor %d: %q does not go through the worker's code", ev.FD, functions)
		}
	}
}

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

func (k *trace) lossless() {
	k.t.Helper()
	loss, err := k.probe.Loss()
	if err != nil {
		k.t.Fatal(err)
	}
	if loss != (event.Loss{}) {
		k.t.Errorf("lost %+v", loss)
	}
}

func compare(t *testing.T, what, got, want string) {
	t.Helper()
	if want = dedent(want); got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
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
