package kerneltest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

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
	if inVM() {
		t.Fatalf("%+v", c)
	}
	t.Skipf("needs a machine that lets us attach to functions: %s", c.Detail)
}

// TestFollowing: by fentry where the kernel has it, else by kprobes.
func TestFollowing(t *testing.T) {
	needs.Root(t)
	needFollowing(t)
	want := "fentry"
	if runtime.GOARCH == "arm64" && needs.Older(t, 6, 4) {
		want = "kprobe" // its functions could not be attached to otherwise yet
	}
	if c := doctor(t)["socket files"]; !strings.HasSuffix(c.Detail, "by "+want) {
		t.Errorf("doctor says %q, want %s", c.Detail, want)
	}
}

// withoutDescriptor is how many sockets of a process the report says are open
// without a descriptor.
func withoutDescriptor(r *verdict.Report, comm string, pid int) int {
	n := 0
	for _, note := range r.Notes {
		if strings.Contains(note, fmt.Sprintf("sockets made by %s (pid %d) are open without a descriptor", comm, pid)) {
			if _, err := fmt.Sscan(note, &n); err != nil {
				return -1
			}
		}
	}
	return n
}

// TestInFlight: a socket that was sent by SCM_RIGHTS and that nobody has received
// has no descriptor anywhere.
func TestInFlight(t *testing.T) {
	needs.Root(t)
	needFollowing(t)
	p := program(t, "fdops")
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID))
	for _, command := range []string{"socketpair", "socket tcp", "scm_send 3 5", "close 5", "socket tcp", "close 5"} {
		p.Do(command)
	}
	k.looks(3)
	if r, _ := k.end(); withoutDescriptor(r, "fdops", p.PID) != 1 {
		t.Errorf("want one socket under way\n%s", describe(r))
	}
}

// TestURing: io_uring makes and closes sockets without system calls of their own.
// One that has a descriptor is found by snapshots, one that has none by its file.
func TestURing(t *testing.T) {
	needs.Root(t)
	needFollowing(t)
	const direct = 4
	r, err := newRing(t, direct)
	needs.Kernel(t, "io_uring with direct descriptors", err, 5, 19)
	pid := os.Getpid()
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(pid))
	for i := range uint32(direct) {
		if got := r.socket(i + 1); got < 0 {
			t.Fatalf("make a direct socket: %v", unix.Errno(-got))
		}
	}
	if got := r.closeDirect(1); got < 0 {
		t.Fatalf("close a direct socket: %v", unix.Errno(-got))
	}
	fd := r.socket(0)
	if fd < 0 {
		t.Fatalf("make a socket: %v", unix.Errno(-fd))
	}
	defer unix.Close(int(fd))
	k.until("the socket with a descriptor is found", func(r *verdict.Report) bool {
		return len(r.Findings) == 1 && r.Findings[0].Class == verdict.NeverUsed && r.Findings[0].Count == 1
	})
	k.looks(3)
	report, _ := k.end()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if got := withoutDescriptor(report, strings.TrimSpace(string(comm)), pid); got != direct-1 {
		t.Errorf("%d without a descriptor, want %d\n%s", got, direct-1, describe(report))
	}
}
