package release

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
)

// open attaches for all processes.
func open(t *testing.T) *Tracker {
	t.Helper()
	needs.Root(t)
	return opened(t, Scope{})
}

// best is the method that a kernel must have.
func best(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH == "arm64" && needs.Older(t, 6, 4) {
		return "kprobe" // its functions could not be attached to otherwise yet
	}
	return "fentry"
}

// has reports which of the sockets are known, as one letter each.
func has(t *testing.T, tracker *Tracker, inodes ...uint64) string {
	t.Helper()
	known := map[uint64]File{}
	if err := tracker.Files(now(t), func(f File) { known[f.Inode] = f }); err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/thread-self/comm")
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, inode := range inodes {
		f, ok := known[inode]
		switch {
		case !ok:
			text += "-"
		case f.PID != uint32(os.Getpid()) || f.Comm != strings.TrimSpace(string(comm)):
			t.Errorf("made by %s (pid %d)", f.Comm, f.PID)
		default:
			text += "x"
		}
	}
	return text
}

func now(t *testing.T) uint64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return uint64(ts.Nano())
}

func inode(t *testing.T, fd int) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

func closeAll(t *testing.T, fds ...int) {
	t.Helper()
	for _, fd := range fds {
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLife: a socket's file is there from its making until nothing refers to it
// any more, be that a descriptor or a message under way.
func TestLife(t *testing.T) {
	runtime.LockOSThread() // its name is that of the makers
	tracker := open(t)
	if got := tracker.Method(); got != best(t) {
		t.Errorf("attached by %s, want %s", got, best(t))
	}
	a, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	inodes := []uint64{inode(t, a), inode(t, pair[0]), inode(t, pair[1])}
	var got []string
	look := func() { got = append(got, has(t, tracker, inodes...)) }
	look()
	again, err := unix.Dup(a)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(t, a)
	look() // a copy is left
	if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(again), nil, 0); err != nil {
		t.Fatal(err)
	}
	closeAll(t, again)
	look() // it is under way
	closeAll(t, pair[0])
	look() // so it still is
	closeAll(t, pair[1])
	look()
	if want := []string{"xxx", "xxx", "xxx", "x-x", "---"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n, err := tracker.Lost(); n != 0 || err != nil {
		t.Errorf("lost %d, %v", n, err)
	}
}

// TestRefused: where the kernel patches none of its functions there is an error
// that says so, or what still works, but nothing that looks attached and sees
// nothing.
func TestRefused(t *testing.T) {
	needs.Root(t)
	needs.Unpatched(t)
	tracker, err := Open(Scope{}, nil)
	if err == nil {
		err = tracker.Close()
	}
	// The kprobes of arm64 are breakpoints, which ftrace has no part in.
	if works := runtime.GOARCH == "arm64"; works != (err == nil) {
		t.Errorf("Open: %v", err)
	}
	if err != nil {
		t.Logf("as it should be: %v", err)
	}
}
