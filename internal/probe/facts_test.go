package probe

import (
	"maps"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/needs"
)

func TestWaiters(t *testing.T) {
	scenario(t, ``, func(k *trace) {
		k.do(`
		socketpair 1 1 0
		socketpair 1 1 0
		socket 2 2 0
		wait-readable 20
		epoll 24`)
		k.check(`
		pair comm=exe fd=20 fd2=21 inode=1 inode2=2 stack sock=u_str/ESTAB
		pair comm=exe fd=21 fd2=20 inode=2 inode2=1 stack sock=u_str/ESTAB
		pair comm=exe fd=22 fd2=23 inode=3 inode2=4 stack sock=u_str/ESTAB
		pair comm=exe fd=23 fd2=22 inode=4 inode2=3 stack sock=u_str/ESTAB
		socket comm=exe fd=24 inode=5 stack sock=udp/UNCONN`, `
		fd=20 inode=1 sock=u_str/ESTAB known=hwldp peer=2 begun was-established waiters
		fd=21 inode=2 sock=u_str/ESTAB known=hwldp peer=1 begun was-established
		fd=22 inode=3 sock=u_str/ESTAB known=hwldp peer=4 begun was-established
		fd=23 inode=4 sock=u_str/ESTAB known=hwldp peer=3 begun was-established
		fd=24 inode=5 sock=udp/UNCONN known=qwkld waiters`)
	})
}

// TestPeerGone has AF_UNIX sockets whose peer was closed, which their state
// doesn't tell, and one whose peer was not accepted yet.
func TestPeerGone(t *testing.T) {
	const before = `
		socketpair 1 1 0
		socketpair 1 2 0
		socketpair 1 5 0
		socket 1 1 0
		bind-unix 26
		listen 26 7
		socket 1 1 0
		connect 27 26`
	datagram := connectedDatagram(t)
	scenario(t, before, func(k *trace) {
		k.check(``, `
		fd=20 inode=1 sock=u_str/ESTAB known=hwldp peer=2 begun was-established
		fd=21 inode=2 sock=u_str/ESTAB known=hwldp peer=1 begun was-established
		fd=22 inode=3 sock=u_dgr/`+datagram+` known=hwldp peer=4 begun was-established
		fd=23 inode=4 sock=u_dgr/`+datagram+` known=hwldp peer=3 begun was-established
		fd=24 inode=5 sock=u_seq/ESTAB known=hwldp peer=6 begun was-established
		fd=25 inode=6 sock=u_seq/ESTAB known=hwldp peer=5 begun was-established
		fd=26 inode=7 sock=u_str/LISTEN known=hwldp local=@AUTO bound
		fd=27 inode=8 sock=u_str/ESTAB known=hwldp remote=@AUTO begun was-established`)
		k.do(`
		close 21
		close 23
		close 25
		close 26`)
		k.check(`
		close fd=21 inode=2
		close fd=23 inode=4
		close fd=25 inode=6
		close fd=26 inode=7`, `
		fd=20 inode=1 sock=u_str/ESTAB known=hwldp peer-gone begun was-established rcv-shutdown snd-shutdown
		fd=22 inode=3 sock=u_dgr/`+datagram+` known=hwldp peer-gone begun was-established
		fd=24 inode=5 sock=u_seq/ESTAB known=hwldp peer-gone begun was-established rcv-shutdown snd-shutdown
		fd=27 inode=8 sock=u_str/ESTAB known=hwldp peer-gone remote=@AUTO err=104 begun was-established rcv-shutdown snd-shutdown`)
	})
}

// connectedDatagram is the state of both sockets when one AF_UNIX datagram socket
// is connected to another: they got one with 83301b5367a9.
func connectedDatagram(t *testing.T) string {
	if needs.Older(t, 5, 15) {
		return "UNCONN"
	}
	return "ESTAB"
}

// TestUnixNames has listeners with a name and clients without one: what is at
// either end of a connection has the listener's.
func TestUnixNames(t *testing.T) {
	path, datagram := os.TempDir()+"/", connectedDatagram(t)
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 1 1 0
		bind-path 20
		socket 1 1 0
		bind-abstract 21
		listen 21 7
		socket 1 1 0
		connect 22 21
		accept4 21 0
		socket 1 2 0
		bind-abstract 24
		socket 1 2 0
		connect 25 24`)
		k.read()
		k.events = nil
		rows := k.snapshot()
		long := rows[0].Facts.UnixNames().Local
		if len(long) != 107 || !strings.HasPrefix(long, path) || !strings.HasSuffix(long, "xxx") {
			k.problem("the longest path there can be is %q", long)
		}
		rows[0].Facts.Names = nil
		k.compare("rows", k.names.rows(rows), `
		fd=20 inode=1 sock=u_str/UNCONN known=hwldp bound
		fd=21 inode=2 sock=u_str/LISTEN known=hwldp local=@probe.PID.21 bound
		fd=22 inode=3 sock=u_str/ESTAB known=hwldp peer=4 remote=@probe.PID.21 begun was-established
		fd=23 inode=4 sock=u_str/ESTAB known=hwldp peer=3 local=@probe.PID.21 begun was-established bound
		fd=24 inode=5 sock=u_dgr/`+datagram+` known=hwldp local=@probe.PID.24 bound
		fd=25 inode=6 sock=u_dgr/`+datagram+` known=hwldp peer=5 remote=@probe.PID.24 begun was-established`)
	})
}

// TestMPTCP has a connection of which newer kernels tell more.
func TestMPTCP(t *testing.T) {
	const proto = 262
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, proto)
	if err == nil {
		unix.Close(fd)
	}
	if err == unix.EPROTONOSUPPORT && needs.Older(t, 6, 1) {
		t.Skipf("needs MPTCP, which Debian's kernel 5.10 is built without: this is %s", needs.Release(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	known, in, out := "hwkld", "", ""
	if !needs.Older(t, 6, 5) {
		known, in, out = "b"+known, " in=100", " out=100"
	}
	if !needs.Older(t, 6, 10) {
		known = "a" + known
	}
	scenario(t, ``, func(k *trace) {
		k.do(`
		socket 2 1 262
		bind 20 0
		listen 20 7
		socket 2 1 262
		connect 21 20
		accept4 20 0
		write 21 100
		read 22 30`)
		k.read()
		// Which states the kernel tells of a connection of MPTCP has changed; none
		// may be of the subflow, and that it begins may be missing in none.
		began := map[uint8]int{}
		for _, e := range k.events {
			if e.Kind == event.TCPState && e.Sock.Protocol != unix.IPPROTO_MPTCP {
				t.Errorf("state of a subflow: %+v", e)
			}
			if e.Kind == event.TCPState && e.OldState == event.StateClose {
				began[e.NewState]++
			}
		}
		if want := map[uint8]int{event.StateListen: 1, event.StateSynSent: 1}; !maps.Equal(began, want) {
			t.Errorf("began with the states %v, want %v", began, want)
		}
		k.events = nil
		k.check(``, `
		fd=20 inode=1 sock=mptcp/LISTEN/127.0.0.1:P0>- known=wkld bound
		fd=21 inode=2 sock=mptcp/ESTAB/127.0.0.1:P1>127.0.0.1:P0 known=`+known+out+` begun was-established bound
		fd=22 inode=3 sock=mptcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1 known=`+known+in+` begun was-established bound`)
	})
}

// TestUnanswered has peers that stopped to answer: data, a FIN and keepalive
// probes are sent in vain. The SYN and the FIN are no data.
func TestUnanswered(t *testing.T) {
	const before = `
		socket 2 1 0
		bind 20 0
		listen 20 7
		socket 2 1 0
		connect 21 20
		accept4 20 0
		socket 2 1 0
		connect 23 20
		accept4 20 0
		socket 2 1 0
		connect 25 20
		accept4 20 0
		socket 2 2049 0
		deaf 22
		deaf 24
		deaf 26
		deaf 20
		connect 27 20 errno=115`
	scenario(t, before, func(k *trace) {
		k.do(`
		write 21 100
		write 23 7
		shutdown 23 1
		keepalive-fast 25`)
		k.check(`
		tcp inode=1 was=ESTAB sock=tcp/FIN-WAIT-1/127.0.0.1:P0>127.0.0.1:P1`, `
		fd=20 inode=2 sock=tcp/LISTEN/127.0.0.1:P1>- known=qwkld send-q=7 bound
		fd=21 inode=3 sock=tcp/ESTAB/127.0.0.1:P2>127.0.0.1:P1 known=qabhwkldu send-q=100 unacked=100 retransmits out=100 begun was-established bound
		fd=22 inode=4 sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P2 known=qabhwkldu begun was-established bound
		fd=23 inode=1 sock=tcp/FIN-WAIT-1/127.0.0.1:P0>127.0.0.1:P1 known=qabhwkldu send-q=8 unacked=7 retransmits out=7 begun was-established bound snd-shutdown
		fd=24 inode=5 sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P0 known=qabhwkldu begun was-established bound
		fd=25 inode=6 sock=tcp/ESTAB/127.0.0.1:P3>127.0.0.1:P1 known=qabhwkldu probes begun was-established bound keepalive
		fd=26 inode=7 sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P3 known=qabhwkldu begun was-established bound
		fd=27 inode=8 sock=tcp/SYN-SENT/127.0.0.1:P4>127.0.0.1:P1 known=qhwkldu send-q=1 retransmits begun bound`)
	})
}
