package unwind

import (
	"maps"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
)

// workerVariable makes the test binary the program that is traced. It needs no
// compiler, so the test runs in a virtual machine too.
const workerVariable = "SOCKLEAK_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		os.Exit(1)
	}
	for range rounds {
		one()
		other()
		time.Sleep(20 * time.Millisecond)
	}
}

const rounds = 50

//go:noinline
func one() { open() }

//go:noinline
func other() { open() }

//go:noinline
func open() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		os.Exit(1)
	}
	_ = unix.Close(fd)
}

// Two callers of one function, whose frames are alike, are told apart, and each is
// copied only until the kernel side knows it: what this side says that a walk
// read is what that side reads.
func TestKnown(t *testing.T) {
	needs.Root(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(cmd)
	tr := follow(t, probe.Scope{PIDs: []uint32{uint32(cmd.Process.Pid)}})
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	ids := map[uint64]int{}
	sockets := 0
	for limit := time.Now().Add(20 * time.Second); sockets < 2*rounds && time.Now().Before(limit); {
		tr.read(time.Now().Add(10*time.Millisecond), func(s socket) {
			sockets++
			ids[s.stack]++
		})
	}
	type origin struct {
		quality stack.Quality
		caller  string // of open
	}
	got := map[origin]int{}
	for id, n := range ids {
		o := tr.stacks.Resolve(id)
		if testing.Verbose() {
			dump(t, o)
		}
		at := origin{quality: o.Quality}
		for i, f := range o.Frames {
			if f.Function == "sockleak/internal/unwind.open" {
				at.caller = o.Frames[i+1].Function
			}
		}
		got[at] += n
	}
	want := map[origin]int{
		{stack.Complete, "sockleak/internal/unwind.one"}:   rounds,
		{stack.Complete, "sockleak/internal/unwind.other"}: rounds,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	t.Logf("%d sockets, %d copies", sockets, tr.walked)
	// A round or two may pass before the first copy is walked.
	if tr.walked > rounds {
		t.Errorf("%d copies of two stacks", tr.walked)
	}
}
