package asked

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"sockleak/internal/needs"
)

// absent is the first of the numbers that no process has: PID_MAX_LIMIT is 1<<22.
const absent = 1<<22 + 1

// crowded follows so many processes with uprobes, and so many without.
func crowded(with, without int) *follower {
	f := follow(nil, nil)
	close(f.requests)
	f.done.Wait()
	for i := range with + without {
		f.attached[uint32(absent+i)] = &process{pidfd: -1, probed: i < with}
	}
	f.probed = with
	return f
}

// Uprobes are the dearer: a program of Go, which needs none, is followed where there
// is no more room for those that do.
func TestRoom(t *testing.T) {
	type room struct{ with, without bool }
	for name, c := range map[string]struct {
		with, without int
		want          room
	}{
		"none":                          {0, 0, room{true, true}},
		"one more with uprobes":         {maxProbed - 1, 0, room{true, true}},
		"enough with uprobes":           {maxProbed, 0, room{false, true}},
		"many without":                  {0, maxProbed, room{true, true}},
		"one more without":              {maxProbed, maxProcesses - maxProbed - 1, room{false, true}},
		"enough":                        {maxProbed, maxProcesses - maxProbed, room{}},
		"enough, of which few have any": {1, maxProcesses - 1, room{}},
	} {
		f := crowded(c.with, c.without)
		if got := (room{f.room(nil, true), f.room(nil, false)}); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	spec, err := loadAsked()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{askedMapAttached, askedMapGoPrograms} {
		if n := spec.Maps[name].MaxEntries; n != maxProcesses {
			t.Errorf("%s holds %d, want %d", name, n, maxProcesses)
		}
	}
}

// A process there was no room for counts once, and is looked at again when there is.
func TestRefused(t *testing.T) {
	f := crowded(maxProbed, 0)
	const pid = absent + maxProcesses
	for range 2 {
		if p, err := f.process(pid, true); p != nil || err != nil {
			t.Fatal(p, err)
		}
	}
	f.retry()
	if f.status.Refused != 1 || !f.refused[pid] {
		t.Errorf("%d were too many, %v wait; want one", f.status.Refused, f.refused)
	}
	f.attached = map[uint32]*process{}
	f.probed = 0
	f.retry()
	// It has gone meanwhile, which is no error.
	if len(f.refused) != 0 || f.status != (Status{Refused: 1}) {
		t.Errorf("with room: %v wait, %+v", f.refused, f.status)
	}
}

// One that was refused is followed as soon as there is room: this program, of Go.
func TestFollowedLater(t *testing.T) {
	needs.Root(t)
	spec, err := loadAsked()
	if err != nil {
		t.Fatal(err)
	}
	hold := func(name string) *ebpf.Map {
		m, err := ebpf.NewMap(spec.Maps[name])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	f := crowded(0, maxProcesses)
	f.own = &objects{Attached: hold(askedMapAttached), Programs: hold(askedMapGoPrograms), Handles: hold(askedMapHandles)}
	pid := uint32(os.Getpid())
	if err := f.serve(request{pid: pid}); err != nil || f.attached[pid] != nil {
		t.Fatalf("with no room: %v, %+v", err, f.attached[pid])
	}
	delete(f.attached, absent)
	f.retry()
	var layout askedGoLayout
	if err := f.own.Programs.Lookup(pid, &layout); err != nil || f.attached[pid] == nil || len(f.refused) != 0 {
		t.Errorf("with room: %v, %+v, %v wait, %+v", err, f.attached[pid], f.refused, f.status)
	}
	if p, err := f.process(pid, true); p != f.attached[pid] || err != nil || f.probed != 1 {
		t.Errorf("with uprobes: %+v, %v, %d have some", p, err, f.probed)
	}
	if err := f.forget([]uint32{pid}); err != nil || f.probed != 0 {
		t.Errorf("gone: %v, %d have uprobes", err, f.probed)
	}
}

// While the tracepoints can't be attached to, no process is followed for nothing.
func TestAttachAgain(t *testing.T) {
	f := crowded(0, 0)
	failed := errors.New("no")
	calls := 0
	f.attach = func() error { calls++; return failed }
	for range 2 {
		if p, err := f.process(uint32(os.Getpid()), false); p != nil || !errors.Is(err, failed) {
			t.Errorf("%+v, %v; want %v", p, err, failed)
		}
	}
	if calls != 2 || len(f.attached) != 0 {
		t.Errorf("tried %d times, want 2; %d are followed", calls, len(f.attached))
	}
}
