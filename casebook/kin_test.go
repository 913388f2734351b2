package casebook

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"sockleak/internal/procfs"
	"sockleak/internal/verdict"
)

// A trace of the whole machine finds what leaks there besides the casebook: that is
// none of its business. But a finding about a socket of the casebook's that is given
// to a wrong process, or to a child that is gone, must not pass as such.

// kin tells processes that the casebook brought into being from all others.
type kin struct {
	proc   procfs.FS
	others map[uint32]bool // ran before any program did
	pids   map[uint32]bool // the programs'
	comms  map[string]bool // of the programs and of their children
}

// newKin is called before the programs are started.
func newKin(t testing.TB) *kin {
	t.Helper()
	k := &kin{proc: procfs.New(""), others: map[uint32]bool{}, pids: map[uint32]bool{}, comms: map[string]bool{}}
	for _, pid := range k.all(t) {
		k.others[pid] = true
	}
	return k
}

func (k *kin) all(t testing.TB) []uint32 {
	t.Helper()
	pids, err := k.proc.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// note learns the names of the programs' processes. A child may come at any time.
func (k *kin) note(t testing.TB, programs []*Program) {
	t.Helper()
	groups := map[int]bool{}
	for _, p := range programs {
		k.pids[uint32(p.PID)] = true
		groups[p.PID] = true
	}
	for _, pid := range k.all(t) {
		group, err := syscall.Getpgid(int(pid))
		if err != nil || !groups[group] {
			continue // it has ended meanwhile, or is none of ours
		}
		switch comm, err := k.proc.Comm(pid); {
		case err == nil:
			k.comms[comm] = true
		case !errors.Is(err, procfs.ErrNoProcess):
			t.Fatal(err)
		}
	}
}

// of says why a process must be of the casebook; empty: it needn't.
func (k *kin) of(t testing.TB, p verdict.Process) string {
	t.Helper()
	if k.others[p.PID] {
		return ""
	}
	if k.comms[p.Comm] {
		return "it has the name of a process of the casebook"
	}
	for pid := p.PID; pid > 1; {
		if k.pids[pid] {
			return fmt.Sprintf("it descends from process %d, which is of the casebook", pid)
		}
		info, err := k.proc.Process(pid)
		if errors.Is(err, procfs.ErrNoProcess) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		pid = info.PPID
	}
	return ""
}

// TestKin asks of processes of all kinds whether they must be of the casebook.
func TestKin(t *testing.T) {
	elder := cat(t)
	k := newKin(t)
	child := cat(t)
	k.note(t, []*Program{{PID: child}, {PID: os.Getpid()}})
	const gone = 1 << 22 // no process has such a number (PID_MAX_LIMIT of include/linux/threads.h)
	tests := []struct {
		name    string
		process verdict.Process
		want    string
	}{
		{name: "was there before", process: verdict.Process{PID: uint32(elder), Comm: "cat"}},
		{name: "has another name and is gone", process: verdict.Process{PID: gone, Comm: "dog"}},
		{name: "has the name and is gone", process: verdict.Process{PID: gone, Comm: "cat"},
			want: "it has the name of a process of the casebook"},
		{name: "is a child in a group of its own", process: verdict.Process{PID: uint32(cat(t)), Comm: "dog"},
			want: fmt.Sprintf("it descends from process %d, which is of the casebook", os.Getpid())},
	}
	for _, tt := range tests {
		if got := k.of(t, tt.process); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// cat starts a process in a group of its own, which ends with the test, and returns
// its number when it runs: exec gives it its name after Start has returned.
func cat(t *testing.T) int {
	t.Helper()
	cmd := exec.Command(tool(t, "cat"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("make its input: %v", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("make its output: %v", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start cat: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // cat has nothing to fail at
	})
	if _, err := in.Write([]byte{'\n'}); err != nil {
		t.Fatalf("write to cat: %v", err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("read from cat: %v", err)
	}
	return cmd.Process.Pid
}
