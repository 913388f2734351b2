package kerneltest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// server listens on loopback, in this process: it is the one that is traced.
type server struct {
	t  *testing.T
	fd int
	at unix.Sockaddr
}

func serve(t *testing.T) *server {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return &server{t, fd, at}
}

// visit connects, and is gone: who accepts it then has a connection to close.
func (s *server) visit() {
	s.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, s.at); err != nil {
		s.t.Fatal(err)
	}
}

// TestURingAccept: connections that io_uring accepts and closes, with descriptors,
// are found and found closed by snapshots, on every kernel. Who accepted them is
// not known, and is said to be not known.
func TestURingAccept(t *testing.T) {
	needs.Root(t)
	r, s := newRing(t, 0), serve(t)
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(os.Getpid()))
	var fds []int32
	for range rounds {
		s.visit()
		fd := r.accept(s.fd, 0)
		if fd < 0 {
			t.Fatalf("accept: %v", unix.Errno(-fd))
		}
		fds = append(fds, fd)
	}
	want := []leak{{verdict.PeerClosed, rounds, "none"}}
	found := func(r *verdict.Report) bool { return fmt.Sprint(leaks(r, ownComm(t))) == fmt.Sprint(want) }
	report := k.until("the connections are found", found)
	if o := report.Findings[0].Origin; o.Quality != stack.None || !strings.Contains(o.Reason, "io_uring") {
		t.Errorf("origin %+v", o)
	}
	if got, want := report.Totals.Opened, uint64(rounds); got != want { // by visit
		t.Errorf("%d seen to be opened, want the %d of the clients", got, want)
	}
	for _, fd := range fds {
		if got := r.close(fd); got < 0 {
			t.Fatalf("close: %v", unix.Errno(-got))
		}
	}
	k.until("they are found closed", func(r *verdict.Report) bool { return len(r.Findings) == 0 && r.Totals.Closed == 2*rounds })
	if report, status := k.end(); report.Verdict == verdict.Leak || status != 0 {
		t.Errorf("status %d\n%s", status, describe(report))
	}
}

// TestURingDirect: what it accepts without a descriptor is in no table of the
// kernel's that can be asked. From their files it is known how many there are, and
// that those that were closed are gone.
func TestURingDirect(t *testing.T) {
	needs.Root(t)
	r, s := newRing(t, direct), serve(t)
	s.visit()
	// One that doesn't know direct descriptors makes an ordinary one, or refuses.
	switch got := r.accept(s.fd, 1); {
	case got > 0:
		unix.Close(int(got))
		needs.Kernel(t, "io_uring that accepts without a descriptor", unix.EINVAL, 5, 15)
	case got < 0:
		needs.Kernel(t, "io_uring that accepts without a descriptor", unix.Errno(-got), 5, 15)
	}
	needFollowing(t)
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(os.Getpid()))
	for i := range uint32(direct - 1) {
		s.visit()
		if got := r.accept(s.fd, i+2); got != 0 {
			t.Fatalf("accept: %d", got)
		}
	}
	// The first is from before, when nobody followed it.
	for _, index := range []uint32{1, 2} {
		if got := r.closeDirect(index); got != 0 {
			t.Fatalf("close: %d", got)
		}
	}
	k.watch(letGo)
	report, status := k.end()
	if got := withoutDescriptor(report, ownComm(t), os.Getpid()); got != direct-2 || len(report.Findings) != 0 || status != 0 {
		t.Errorf("status %d, %d without a descriptor, want %d, and no finding\n%s", status, got, direct-2, describe(report))
	}
}
