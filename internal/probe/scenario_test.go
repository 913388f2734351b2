package probe

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
)

func TestMissingHooks(t *testing.T) {
	scenario(t, ``, func(k *trace) {
		var want []string
		if runtime.GOARCH == "arm64" {
			want = []string{"sys_enter_dup2", "sys_exit_dup2"}
		}
		if got := k.probe.Missing(); !slices.Equal(got, want) {
			t.Errorf("missing hooks %q, want %q", got, want)
		}
	})
}

func TestCreate(t *testing.T) {
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 0
		socket 10 524289 0
		socket 2 2 0
		socket 1 1 0
		socket 16 3 0
		socketpair 1 1 0
		socketpair 1 524293 0
		socket 99 1 0 errno=97`)
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		socket comm=exe fd=21 inode=2 stack sock=tcp6/CLOSE
		socket comm=exe fd=22 inode=3 stack sock=udp/UNCONN
		socket comm=exe fd=23 inode=4 stack sock=u_str/UNCONN
		socket comm=exe fd=24 inode=5 stack sock=nl/UNCONN
		pair comm=exe fd=25 fd2=26 inode=6 inode2=7 stack sock=u_str/ESTAB
		pair comm=exe fd=26 fd2=25 inode=7 inode2=6 stack sock=u_str/ESTAB
		pair comm=exe fd=27 fd2=28 inode=8 inode2=9 stack sock=u_seq/ESTAB
		pair comm=exe fd=28 fd2=27 inode=9 inode2=8 stack sock=u_seq/ESTAB`, `
		fd=20 inode=1 sock=tcp/CLOSE known=qhwkld
		fd=21 inode=2 sock=tcp6/CLOSE known=qhwkld cloexec
		fd=22 inode=3 sock=udp/UNCONN known=qwkld
		fd=23 inode=4 sock=u_str/UNCONN known=hwldp
		fd=24 inode=5 sock=nl/UNCONN known=wd
		fd=25 inode=6 sock=u_str/ESTAB known=hwldp peer=7 begun was-established
		fd=26 inode=7 sock=u_str/ESTAB known=hwldp peer=6 begun was-established
		fd=27 inode=8 sock=u_seq/ESTAB known=hwldp peer=9 begun was-established cloexec
		fd=28 inode=9 sock=u_seq/ESTAB known=hwldp peer=8 begun was-established cloexec`)
	})
}

func TestConnection(t *testing.T) {
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 0
		bind 20 0
		listen 20 7
		socket 2 1 0
		connect 21 20
		socket 10 1 0
		connect 22 20`)
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		socket comm=exe fd=21 inode=2 stack sock=tcp/CLOSE
		connect fd=21 inode=2 sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1
		socket comm=exe fd=22 inode=3 stack sock=tcp6/CLOSE
		connect fd=22 inode=3 sock=tcp6/ESTAB/127.0.0.1:P2>127.0.0.1:P1
		tcp inode=1 was=CLOSE sock=tcp/LISTEN/127.0.0.1:P1>-
		tcp inode=2 was=CLOSE sock=tcp/SYN-SENT/->127.0.0.1:P1
		tcp inode=2 was=SYN-SENT sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1
		tcp inode=3 was=CLOSE sock=tcp6/SYN-SENT/->127.0.0.1:P1
		tcp inode=3 was=SYN-SENT sock=tcp6/ESTAB/127.0.0.1:P2>127.0.0.1:P1`, `
		fd=20 inode=1 sock=tcp/LISTEN/127.0.0.1:P1>- known=qwkld recv-q=2 send-q=7 bound
		fd=21 inode=2 sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1 known=qabhwkldu begun was-established bound
		fd=22 inode=3 sock=tcp6/ESTAB/127.0.0.1:P2>127.0.0.1:P1 known=qabhwkldu begun was-established bound`)
		k.do(`
		accept 20
		accept4 20 524288
		write 21 100
		read 23 30
		keepalive 21
		epoll 24`)
		k.check(`
		accept comm=exe fd=23 fd2=20 inode=4 inode2=1 stack sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P0
		accept comm=exe fd=24 fd2=20 inode=5 inode2=1 stack sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P2`, `
		fd=20 inode=1 sock=tcp/LISTEN/127.0.0.1:P1>- known=qwkld send-q=7 bound
		fd=21 inode=2 sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1 known=qabhwkldu out=100 begun was-established bound keepalive
		fd=22 inode=3 sock=tcp6/ESTAB/127.0.0.1:P2>127.0.0.1:P1 known=qabhwkldu begun was-established bound
		fd=23 inode=4 sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P0 known=qabhwkldu recv-q=70 in=100 begun was-established bound
		fd=24 inode=5 sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P2 known=qabhwkldu begun was-established bound cloexec waiters`)
		k.do(`
		close 23
		shutdown 24 1`)
		k.check(`
		close fd=23 inode=4
		tcp inode=2 errno=104 was=ESTAB sock=tcp/CLOSE/->127.0.0.1:P1
		tcp inode=3 was=ESTAB sock=tcp6/CLOSE-WAIT/127.0.0.1:P2>127.0.0.1:P1
		tcp inode=4 was=ESTAB sock=tcp/CLOSE/->127.0.0.1:P0
		destroy inode=4
		tcp inode=5 was=ESTAB sock=tcp/FIN-WAIT-1/127.0.0.1:P1>127.0.0.1:P2
		tcp inode=5 was=FIN-WAIT-1 sock=tcp/FIN-WAIT-2/127.0.0.1:P1>127.0.0.1:P2`, `
		fd=20 inode=1 sock=tcp/LISTEN/127.0.0.1:P1>- known=qwkld send-q=7 bound
		fd=21 inode=2 sock=tcp/CLOSE/->127.0.0.1:P1 known=qabhwkld err=104 out=100 begun was-established keepalive rcv-shutdown snd-shutdown
		fd=22 inode=3 sock=tcp6/CLOSE-WAIT/127.0.0.1:P2>127.0.0.1:P1 known=qabhwkldu recv-q=1 begun was-established bound rcv-shutdown
		fd=24 inode=5 sock=tcp/FIN-WAIT-2/127.0.0.1:P1>127.0.0.1:P2 known=qabhwkldu begun was-established bound cloexec waiters snd-shutdown`)
		k.do(`reset 24
		close 24`)
		k.check(`
		close fd=24 inode=5
		tcp inode=3 errno=32 was=CLOSE-WAIT sock=tcp6/CLOSE/->127.0.0.1:P1
		tcp inode=5 was=FIN-WAIT-2 sock=tcp/CLOSE/->127.0.0.1:P2
		destroy inode=5`, `
		fd=20 inode=1 sock=tcp/LISTEN/127.0.0.1:P1>- known=qwkld send-q=7 bound
		fd=21 inode=2 sock=tcp/CLOSE/->127.0.0.1:P1 known=qabhwkld err=104 out=100 begun was-established keepalive rcv-shutdown snd-shutdown
		fd=22 inode=3 sock=tcp6/CLOSE/->127.0.0.1:P1 known=qabhwkld err=32 recv-q=1 begun was-established rcv-shutdown snd-shutdown`)
		k.do(`close 22
		close 21
		close 20`)
		k.check(`
		close fd=22 inode=3
		close fd=21 inode=2
		close fd=20 inode=1
		tcp inode=1 was=LISTEN sock=tcp/CLOSE
		destroy inode=1
		destroy inode=2
		destroy inode=3`, ``)
	})
}

func TestFailedConnect(t *testing.T) {
	scenario(t, ``, func(k *trace) {
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
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		connect fd=20 inode=1 errno=111 sock=tcp/CLOSE/->127.0.0.1:1
		socket comm=exe fd=21 inode=2 stack sock=udp/UNCONN
		socket comm=exe fd=22 inode=3 stack sock=udp/UNCONN
		connect fd=22 inode=3 sock=udp/ESTAB/127.0.0.1:P0>127.0.0.1:P1
		connect fd=22 inode=3 sock=udp/UNCONN
		socket comm=exe fd=23 inode=4 stack sock=u_str/UNCONN
		socket comm=exe fd=24 inode=5 stack sock=u_dgr/UNCONN
		connect fd=24 inode=5 errno=111 sock=u_dgr/UNCONN
		tcp inode=1 was=CLOSE sock=tcp/SYN-SENT/->127.0.0.1:1
		tcp inode=1 errno=111 was=SYN-SENT sock=tcp/CLOSE/->127.0.0.1:1`, `
		fd=20 inode=1 sock=tcp/CLOSE known=qhwkld begun
		fd=21 inode=2 sock=udp/UNCONN/127.0.0.1:P1>- known=qwkld bound
		fd=22 inode=3 sock=udp/UNCONN/0.0.0.0:P2>- known=qwkld bound
		fd=23 inode=4 sock=u_str/LISTEN known=hwldp local=@AUTO bound
		fd=24 inode=5 sock=u_dgr/UNCONN known=hwldp`)
	})
}

func TestDescriptors(t *testing.T) {
	scenario(t, ``, func(k *trace) {
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
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		dup fd=21 inode=1
		dup fd=30 inode=1
		socket comm=exe fd=22 inode=2 stack sock=udp/UNCONN
		dup fd=30 inode=2 inode2=1
		dup fd=22 inode2=2
		dup fd=40 inode=1
		dup fd=41 inode=1
		close fd=21 inode=1`, `
		fd=20 inode=1 sock=tcp/CLOSE known=qhwkld
		fd=30 inode=2 sock=udp/UNCONN known=qwkld
		fd=40 inode=1 sock=tcp/CLOSE known=qhwkld
		fd=41 inode=1 sock=tcp/CLOSE known=qhwkld cloexec`)
		k.do(`
		close_range 40 100 0
		close_range 30 20 0 errno=22
		close_range 20 29 2`)
		k.check(`
		close_range table2=0 fd=40 fd2=100 begin
		close_range table=1 table2=0 fd=20 fd2=29 begin`, `
		fd=20 inode=1 sock=tcp/CLOSE known=qhwkld
		fd=30 inode=2 sock=udp/UNCONN known=qwkld
		fd=30 inode=2 sock=udp/UNCONN table=1 known=qwkld`)
	})
}

// TestPeerClosed has connections from before the attach: their states are
// followed from the first snapshot on.
func TestPeerClosed(t *testing.T) {
	const before = `
		socket 2 1 0
		bind 20 0
		listen 20 7
		socket 2 1 0
		connect 21 20
		accept4 20 0
		socket 2 1 0
		connect 23 20
		accept4 20 0`
	scenario(t, before, func(k *trace) {
		k.do(`
		close 22
		shutdown 24 1
		read 23 1
		close 23`)
		k.check(`
		close fd=22 inode=1
		close fd=23 inode=2
		tcp inode=1 was=ESTAB sock=tcp/FIN-WAIT-1/127.0.0.1:P0>127.0.0.1:P1
		tcp inode=1 was=FIN-WAIT-1 sock=tcp/FIN-WAIT-2/127.0.0.1:P0>127.0.0.1:P1
		tcp inode=1 was=FIN-WAIT-2 sock=tcp/CLOSE/->127.0.0.1:P1
		destroy inode=1
		tcp inode=2 was=ESTAB sock=tcp/CLOSE-WAIT/127.0.0.1:P2>127.0.0.1:P0
		tcp inode=2 was=CLOSE-WAIT sock=tcp/LAST-ACK/127.0.0.1:P2>127.0.0.1:P0
		tcp inode=2 was=LAST-ACK sock=tcp/CLOSE/->127.0.0.1:P0
		destroy inode=2
		tcp inode=3 was=ESTAB sock=tcp/CLOSE-WAIT/127.0.0.1:P1>127.0.0.1:P0
		tcp inode=4 was=ESTAB sock=tcp/FIN-WAIT-1/127.0.0.1:P0>127.0.0.1:P2
		tcp inode=4 was=FIN-WAIT-1 sock=tcp/FIN-WAIT-2/127.0.0.1:P0>127.0.0.1:P2
		tcp inode=4 was=FIN-WAIT-2 sock=tcp/CLOSE/->127.0.0.1:P2`, `
		fd=20 inode=5 sock=tcp/LISTEN/127.0.0.1:P0>- known=qwkld send-q=7 bound
		fd=21 inode=3 sock=tcp/CLOSE-WAIT/127.0.0.1:P1>127.0.0.1:P0 known=qabhwkldu recv-q=1 begun was-established bound rcv-shutdown
		fd=24 inode=4 sock=tcp/CLOSE/->127.0.0.1:P2 known=qabhwkld recv-q=1 begun was-established rcv-shutdown snd-shutdown`)
	})
}

func TestSpawn(t *testing.T) {
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 0
		socket 2 524289 0
		spawn 20`)
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		socket comm=exe fd=21 inode=2 stack sock=tcp/CLOSE
		fork table2=1 comm=exe child=0 child-start
		dup pid=child0 table=1 inode=1
		exec pid=child0 table=1 table2=1 comm=exe
		exec-fds pid=child0 table=1 open=[0 20]
		exit pid=child0 table=1 comm=exe`, `
		fd=20 inode=1 sock=tcp/CLOSE known=qhwkld
		fd=21 inode=2 sock=tcp/CLOSE known=qhwkld cloexec`)
	})
}

func TestThreadTable(t *testing.T) {
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 0
		unshared
		close 20`)
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		unshare other-thread table=1 table2=0
		socket other-thread table=1 comm=exe thread=unshared fd=21 inode=2 stack sock=udp/UNCONN
		table-exit other-thread table=1 comm=exe
		close fd=20 inode=1`, ``)
	})
}

// TestDup2 is apart because arm64 has no such call.
func TestDup2(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		t.Skip("needs dup2(2), which arm64 does not have")
	}
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 0
		socket 2 2 0
		dup2 20 20
		dup2 20 21
		dup2 0 20
		dup2 99 21 errno=9`)
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		socket comm=exe fd=21 inode=2 stack sock=udp/UNCONN
		dup fd=21 inode=1 inode2=2
		dup fd=20 inode2=1`, `
		fd=21 inode=1 sock=tcp/CLOSE known=qhwkld`)
	})
}

func TestCloseRangeCloexec(t *testing.T) {
	const cloexec = 4 // CLOSE_RANGE_CLOEXEC
	needs.Kernel(t, "CLOSE_RANGE_CLOEXEC", unix.CloseRange(1<<30, 1<<30, cloexec), 5, 11)
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 0
		close_range 20 30 4`)
		k.check(`
		socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
		close_range table2=0 fd=20 fd2=30 cloexec begin`, `
		fd=20 inode=1 sock=tcp/CLOSE known=qhwkld cloexec`)
	})
}
