package kerneltest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/preflight"
	"sockleak/internal/verdict"
)

// needFollowing skips a test where programs can't be attached to functions, which
// a machine may forbid, but no kernel that we test on has to.
func needFollowing(t *testing.T) {
	t.Helper()
	c := doctor(t)["socket files"]
	if c.Status == preflight.OK {
		return
	}
	if needs.Virtual() {
		t.Fatalf("%+v", c)
	}
	t.Skipf("needs a machine that lets us attach to functions: %s", c.Detail)
}

// TestNotFollowing: where the kernel patches none of its functions, doctor says that
// they can't be attached to, or by what they still can. A trace goes on without.
func TestNotFollowing(t *testing.T) {
	needs.Root(t)
	needs.Unpatched(t)
	c := doctor(t)["socket files"]
	// The kprobes of arm64 are breakpoints, which ftrace has no part in.
	sent := 0
	if runtime.GOARCH == "arm64" {
		sent = 1
	}
	if works := c.Status == preflight.OK && strings.HasSuffix(c.Detail, "by kprobe"); works != (sent == 1) || !works && c.Remedy == "" {
		t.Errorf("doctor says %+v", c)
	}
	if r := inFlight(t); withoutDescriptor(r, "fdops") != sent || len(r.Findings) != 0 || r.Loss.Events() != 0 {
		t.Errorf("want %d sockets under way, and nothing else\n%s", sent, describe(r))
	} else if said := slices.ContainsFunc(r.Notes, notLookedFor); said != (sent == 0) {
		t.Errorf("notes %q", r.Notes)
	}
}

// notLookedFor is whether a note says that sockets without a descriptor could not be
// looked for.
func notLookedFor(note string) bool {
	return strings.HasPrefix(note, "sockets without a descriptor were not looked for")
}

// withoutDescriptor is how many sockets of a process the report says are open
// without a descriptor.
func withoutDescriptor(r *verdict.Report, comm string) int {
	n := 0
	for _, note := range r.Notes {
		made := " made by " + comm + " (pid "
		if strings.Contains(note, made) && strings.Contains(note, " open without a descriptor") {
			if _, err := fmt.Sscan(note, &n); err != nil {
				return -1
			}
		}
	}
	return n
}

// inFlight traces a program that sends one socket, and closes another one.
func inFlight(t *testing.T) *verdict.Report {
	t.Helper()
	p := program(t, "fdops")
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID))
	for _, command := range []string{"socketpair", "socket tcp", "scm_send 3 5", "close 5", "socket tcp", "close 5"} {
		p.Do(command)
	}
	k.looks(3)
	r, _ := k.end()
	return r
}

// TestInFlight: a socket that was sent by SCM_RIGHTS and that nobody has received
// has no descriptor anywhere.
func TestInFlight(t *testing.T) {
	needs.Root(t)
	needFollowing(t)
	if r := inFlight(t); withoutDescriptor(r, "fdops") != 1 {
		t.Errorf("want one socket under way\n%s", describe(r))
	}
}

// ownComm is the name of this process.
func ownComm(t *testing.T) string {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(comm))
}

// direct is how many direct descriptors the tests use.
const direct = 4

// letGo is how long io_uring may hold the file of a direct descriptor that was
// closed: on older kernels a worker lets go of it a second later (io_rsrc_node_ref_zero).
const letGo = 2 * time.Second

// TestURing: io_uring makes and closes sockets without system calls of their own.
// One that has a descriptor is found by snapshots, one that has none by its file.
func TestURing(t *testing.T) {
	needs.Root(t)
	r := newRing(t, direct)
	fd := r.socket(0)
	if fd < 0 {
		needs.Kernel(t, "io_uring that makes sockets", unix.Errno(-fd), 5, 19)
	}
	unix.Close(int(fd))
	needFollowing(t)
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(os.Getpid()))
	for i := range uint32(direct) {
		if got := r.socket(i + 1); got < 0 {
			t.Fatalf("make a direct socket: %v", unix.Errno(-got))
		}
	}
	if got := r.closeDirect(1); got < 0 {
		t.Fatalf("close a direct socket: %v", unix.Errno(-got))
	}
	if fd = r.socket(0); fd < 0 {
		t.Fatalf("make a socket: %v", unix.Errno(-fd))
	}
	defer unix.Close(int(fd))
	k.until("the socket with a descriptor is found", func(r *verdict.Report) bool {
		return len(r.Findings) == 1 && r.Findings[0].Class == verdict.NeverUsed && r.Findings[0].Count == 1
	})
	k.watch(letGo)
	report, _ := k.end()
	if got := withoutDescriptor(report, ownComm(t)); got != direct-1 {
		t.Errorf("%d without a descriptor, want %d\n%s", got, direct-1, describe(report))
	}
}
