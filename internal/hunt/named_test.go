package hunt

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/procfs"
	"sockleak/internal/verdict"
)

// A name that no process has is no reason for an all-clear; a process that is there
// and has no socket is.
func TestNamed(t *testing.T) {
	comms := []string{"crawler"}
	for name, test := range map[string]struct {
		comms  []string
		events []event.Event
		tick   tick
		want   []string
	}{
		"nobody":             {comms, nil, tick{}, comms},
		"no name asked for":  {nil, nil, tick{}, nil},
		"one that lives":     {comms, nil, tick{Named: true}, nil},
		"one that ended":     {comms, []event.Event{{Kind: event.Exit, PID: 5, Start: 1}}, tick{}, nil},
		"one that began":     {comms, []event.Event{{Kind: event.Exec, PID: 5, Start: 1}}, tick{}, nil},
		"one with a socket":  {comms, []event.Event{{Kind: event.Socket, PID: 5, Start: 1, Inode: 7, FD: 3}}, tick{}, nil},
		"a fork of any name": {comms, []event.Event{{Kind: event.Fork, PID: 5, Start: 1, ChildPID: 6, ChildStart: 2}}, tick{}, comms},
	} {
		e := newEngine(options{Scope: probe.Scope{Comms: test.comms}}, 250, 0, noStacks{}, verdict.Report{})
		for i := range test.events {
			e.apply(&test.events[i])
		}
		e.look(test.tick)
		e.look(tick{}) // it is not forgotten
		if got := e.unseen(); !slices.Equal(got, test.want) {
			t.Errorf("%s: unseen %q, want %q", name, got, test.want)
		}
		r := e.report()
		if got := slices.Contains(r.Reasons, "no process called crawler was seen: see ps -e -o comm"); got != (test.want != nil) {
			t.Errorf("%s: %s %q", name, r.Verdict, r.Reasons)
		}
	}
}

func TestNamedProcesses(t *testing.T) {
	root := t.TempDir()
	for pid, comm := range map[int]string{10: "crawler\n", 11: "nginx\n", os.Getpid(): "hunt.test\n"} {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "comm"), []byte(comm), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		comms []string
		pids  []uint32
		want  bool
	}{
		{[]string{"crawler"}, nil, true},
		{[]string{"crawlre", "nginx"}, nil, true},
		{[]string{"crawlre"}, nil, false},
		{[]string{"crawl"}, nil, false},
		{[]string{"hunt.test"}, nil, false}, // sockleak leaves itself out
		{[]string{"nginx"}, []uint32{11}, true},
		{[]string{"nginx"}, []uint32{10}, false},
		{[]string{"nginx"}, []uint32{12}, false},
	} {
		o, alive := options{Scope: probe.Scope{Comms: test.comms, PIDs: test.pids}}, map[uint32]bool{}
		for _, pid := range test.pids {
			alive[pid] = true
		}
		if got := o.named(procfs.New(root), alive); got != test.want {
			t.Errorf("%q of %v: %v", test.comms, test.pids, got)
		}
	}
	if o := (options{Scope: probe.Scope{Comms: []string{"nginx"}}}); !o.named(procfs.New(filepath.Join(root, "missing")), nil) {
		t.Error("an all-clear is denied where /proc can't be read")
	}
}
