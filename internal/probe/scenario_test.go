package probe

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMissingHooks(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	var want []string
	if runtime.GOARCH == "arm64" {
		want = []string{"sys_enter_dup2", "sys_exit_dup2"}
	}
	if got := k.probe.Missing(); !slices.Equal(got, want) {
		t.Errorf("missing hooks %q, want %q", got, want)
	}
}

func TestCreate(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		socket 10 524289 0
		socket 2 2 0
		socket 1 1 0
		socket 16 3 0
		socketpair 1 1 0
		socketpair 1 524293 0
		socket 99 1 0 errno=97`)
	k.check(``, ``)
}

func TestConnection(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		bind 20 0
		listen 20 7
		socket 2 1 0
		connect 21 20
		socket 10 1 0
		connect 22 20`)
	k.check(``, ``)
	k.do(`
		accept 20
		accept4 20 524288
		write 21 100
		read 23 30
		keepalive 21
		epoll 24`)
	k.check(``, ``)
	k.do(`
		close 23
		shutdown 24 1`)
	k.check(``, ``)
	k.do(`reset 24
		close 24`)
	k.check(``, ``)
	k.do(`close 22
		close 21
		close 20`)
	k.check(``, ``)
}

func TestFailedConnect(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		connect-nowhere 20 errno=111
		socket 2 2 0
		bind 21 0
		socket 2 2 0
		connect 22 21
		disconnect 22
		write 22 5 errno=89
		socket 1 1 0
		bind-unix 23
		listen 23 1
		socket 1 2 0
		connect 24 23 errno=111`)
	k.check(``, ``)
}

func TestDescriptors(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		dup 20
		dup3 20 30 524288
		socket 2 2 0
		dup3 22 30 0
		dup3 22 22 0 errno=22
		dup3 0 22 0
		fcntl 20 0 40
		fcntl 20 1030 41
		close 21
		close 21 errno=9`)
	k.check(``, ``)
	k.do(`
		close_range 40 100 0
		close_range 30 20 0 errno=22
		close_range 20 29 2`)
	k.check(``, ``)
}

// TestPeerClosed has connections from before the attach: their states are
// followed from the first snapshot on.
func TestPeerClosed(t *testing.T) {
	needRoot(t)
	w := startWorker(t)
	w.do(`
		socket 2 1 0
		bind 20 0
		listen 20 7
		socket 2 1 0
		connect 21 20
		accept4 20 0
		socket 2 1 0
		connect 23 20
		accept4 20 0`)
	k := follow(t, w)
	k.do(`
		close 22
		shutdown 24 1
		read 23 1
		close 23`)
	k.check(``, ``)
}

func TestWaiters(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socketpair 1 1 0
		socketpair 1 1 0
		socket 2 2 0
		wait-readable 20
		epoll 24`)
	k.check(``, ``)
}

func TestSpawn(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		socket 2 524289 0
		spawn 20`)
	k.check(``, ``)
}

func TestThreadTable(t *testing.T) {
	needRoot(t)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		unshared
		close 20`)
	k.check(``, ``)
}

// TestDup2 is apart because arm64 has no such call.
func TestDup2(t *testing.T) {
	needRoot(t)
	if runtime.GOARCH == "arm64" {
		t.Skip("needs dup2(2), which arm64 does not have")
	}
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		socket 2 2 0
		dup2 20 20
		dup2 20 21
		dup2 0 20
		dup2 99 21 errno=9`)
	k.check(``, ``)
}

func TestCloseRangeCloexec(t *testing.T) {
	needRoot(t)
	const cloexec = 4 // CLOSE_RANGE_CLOEXEC
	kernelHas(t, "CLOSE_RANGE_CLOEXEC", unix.CloseRange(1<<30, 1<<30, cloexec), 5, 11)
	k := follow(t, startWorker(t))
	k.do(`
		socket 2 1 0
		close_range 20 30 4`)
	k.check(``, ``)
}
