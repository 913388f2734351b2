package hunt

import (
	"slices"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/verdict"
)

// A process that runs another program is called as that one is, and is to be looked up
// anew, if it was looked up at all.
func TestAnotherProgram(t *testing.T) {
	e := newEngine(options{}, 250, 0, noStacks{}, verdict.Report{})
	bash := "/bin/bash"
	var want []event.ProcessKey
	for pid, known := range map[uint32]bool{5: true, 6: false} {
		key := event.ProcessKey{PID: pid, Start: 1}
		e.apply(&event.Event{Kind: event.Socket, Time: 2, PID: pid, Start: 1, Inode: uint64(pid), FD: 3, Table: uint64(pid)})
		if known {
			e.names.add(described{ProcessKey: key, Comm: "bash", Exe: &bash})
			want = append(want, key)
		}
		ev := event.Event{Kind: event.Exec, Time: 3, PID: pid, Start: 1, Table: uint64(pid), Table2: uint64(pid)}
		copy(ev.Comm[:], "crawler")
		e.apply(&ev)
		if p := e.names.Process(key); p.Comm != "crawler" || p.Exe != nil {
			t.Errorf("looked up %v: %+v", known, p)
		}
	}
	if !slices.Equal(e.ran, want) {
		t.Errorf("to be looked up %v, want %v", e.ran, want)
	}
}
