package report

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/verdict"
)

const (
	inet, inet6, unix, netlink = 2, 10, 1, 16
	stream, dgram              = 1, 2
	tcp                        = 6
)

const (
	bootID      = "7a1f4c0e-2b3d-4e5f-8a9b-0c1d2e3f4a5b"
	containerID = "5c7d0e9b4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4"
)

func addr(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

func tcpSock(state uint8, local, remote string) event.Sock {
	return event.Sock{Family: inet, Type: stream, Protocol: tcp, State: state, Local: addr(local), Remote: addr(remote)}
}

func rowOf(pid uint32, comm string, fd int32, inode uint64, s event.Sock, f event.Facts) event.Row {
	r := event.Row{PID: pid, Start: uint64(pid) * 10, Table: uint64(pid), FD: fd, Inode: inode, Sock: s, Facts: f}
	copy(r.Comm[:], comm)
	return r
}

const everything = event.KnownQueues | event.KnownActivity | event.KnownHistory | event.KnownWaiters
const established = everything | event.KnownDelivery

// snapshotRows are a crawler with sockets in CLOSE, a worker that shares one of
// its listeners, and a descriptor that is no socket.
func snapshotRows() []event.Row {
	closed := tcpSock(event.StateClose, "0.0.0.0:0", "")
	closed.Local = netip.AddrPort{}
	listener := tcpSock(event.StateListen, "0.0.0.0:80", "")
	rows := []event.Row{
		rowOf(4242, "crawler", 3, 100, listener, event.Facts{Known: everything, RecvQ: 3, SendQ: 128, Waiters: true}),
		rowOf(4243, "worker", 3, 100, listener, event.Facts{Known: everything, RecvQ: 3, SendQ: 128, Waiters: true}),
		rowOf(4242, "crawler", 4, 101, tcpSock(event.StateEstablished, "10.0.0.5:4000", "10.0.0.1:443"),
			event.Facts{Known: established, RecvQ: 1204, LastRx: 2e9, WasEstablished: true, Begun: true, Waiters: true}),
		rowOf(4242, "crawler", 5, 102, tcpSock(event.StateEstablished, "10.0.0.5:4001", "10.0.0.1:443"),
			event.Facts{Known: established, RecvQ: 6, SendQ: 7, Unacked: 5, LastRx: 7200e9, WasEstablished: true, Begun: true}),
		rowOf(4242, "crawler", 6, 102, tcpSock(event.StateEstablished, "10.0.0.5:4001", "10.0.0.1:443"),
			event.Facts{Known: established, RecvQ: 6, SendQ: 7, Unacked: 5, LastRx: 7200e9, WasEstablished: true, Begun: true}),
		rowOf(4242, "crawler", 7, 0, event.Sock{}, event.Facts{}),
		rowOf(4243, "worker", 4, 300, event.Sock{Family: unix, Type: stream, State: event.StateEstablished},
			event.Facts{Known: event.KnownPeer, Names: &event.UnixNames{Remote: "/run/log.sock"}, PeerGone: true}),
		rowOf(4243, "worker", 5, 303, event.Sock{Family: unix, Type: stream, State: event.StateEstablished},
			event.Facts{Known: event.KnownPeer, Names: &event.UnixNames{Local: "@worker"}}),
		rowOf(4243, "worker", 6, 304, event.Sock{Family: netlink, Type: 3, State: event.StateClose}, event.Facts{}),
		rowOf(4243, "worker", 9, 301, event.Sock{Family: inet6, Type: dgram, Protocol: 17, State: event.StateClose, Local: addr("[::]:53")}, event.Facts{Known: event.KnownQueues}),
	}
	for i := range int32(5) {
		f := event.Facts{Known: everything, Begun: i > 0, WasEstablished: i == 4}
		if i == 3 {
			f.Known = 0
		}
		rows = append(rows, rowOf(4242, "crawler", 20+i, 200+uint64(i), closed, f))
	}
	return rows
}

func snapshotInfo() SnapshotInfo {
	return SnapshotInfo{
		Time: time.Date(2025, 3, 9, 3, 7, 12, 0, time.UTC), Scope: "the whole system",
		BootID: bootID, Kernel: "6.12.22-amd64", Version: "0.1.0",
		Programs: map[event.ProcessKey]Program{
			{PID: 4242, Start: 42420}: {Exe: crawlerExe},
			{PID: 4243, Start: 42430}: {Container: containerID},
		},
	}
}

func TestNewSnapshot(t *testing.T) {
	crawler := Holding{PID: 4242, Start: 42420, Comm: "crawler", Exe: ptr(crawlerExe)}
	worker := Holding{PID: 4243, Start: 42430, Comm: "worker", Container: containerID}
	inetTCP := func(g Group) Group {
		g.NetID, g.Family, g.Type, g.Protocol = "tcp", "inet", "stream", "tcp"
		return g
	}
	info := snapshotInfo()
	none := []verdict.Peer{}
	want := &Snapshot{
		Schema: SnapshotSchema, Time: info.Time, BootID: bootID, Scope: info.Scope, Kernel: info.Kernel, Version: info.Version,
		Totals: SnapshotTotals{Sockets: 12, Descriptors: 14, Processes: 2, Closed: 5},
		Groups: []Group{
			inetTCP(Group{Process: crawler, State: "CLOSE", Count: 5, Peers: none, Locals: none,
				RecvQ: ptr(uint64(0)), SendQ: ptr(uint64(0)), OldestRx: ptr(0.0), NotWaitedOn: ptr(4),
				Past: &Past{Unused: 1, Failed: 2, Ended: 1, Unknown: 1}, FDs: "20-24", Inodes: []uint64{200, 201, 202, 203, 204}}),
			inetTCP(Group{Process: crawler, State: "ESTAB", Count: 2, Peers: []verdict.Peer{{Address: "10.0.0.1:443", Count: 2}}, Locals: none,
				RecvQ: ptr(uint64(1210)), SendQ: ptr(uint64(7)), Unacked: ptr(uint64(5)), OldestRx: ptr(7200.0), NotWaitedOn: ptr(1),
				FDs: "4-6", Inodes: []uint64{101, 102}}),
			{Process: worker, NetID: "u_str", Family: "unix", Type: "stream", State: "ESTAB", Count: 2,
				Peers: []verdict.Peer{{Address: "/run/log.sock", Count: 1}}, Locals: []verdict.Peer{{Address: "@worker", Count: 1}},
				PeerGone: ptr(1), FDs: "4-5", Inodes: []uint64{300, 303}},
			inetTCP(Group{Process: crawler, State: "LISTEN", Count: 1, Peers: none, Locals: []verdict.Peer{{Address: "0.0.0.0:80", Count: 1}},
				RecvQ: ptr(uint64(3)), SendQ: ptr(uint64(128)), OldestRx: ptr(0.0), NotWaitedOn: ptr(0),
				FDs: "3", Inodes: []uint64{100}}),
			{Process: worker, NetID: "nl", Family: "netlink", Type: "raw", Protocol: "rtnl", State: "UNCONN", Count: 1, Peers: none, Locals: none,
				FDs: "6", Inodes: []uint64{304}},
			inetTCP(Group{Process: worker, State: "LISTEN", Count: 1, Peers: none, Locals: []verdict.Peer{{Address: "0.0.0.0:80", Count: 1}},
				RecvQ: ptr(uint64(3)), SendQ: ptr(uint64(128)), OldestRx: ptr(0.0), NotWaitedOn: ptr(0),
				FDs: "3", Inodes: []uint64{100}}),
			{Process: worker, NetID: "udp", Family: "inet6", Type: "dgram", Protocol: "udp", State: "UNCONN", Count: 1, Peers: none,
				Locals: []verdict.Peer{{Address: "[::]:53", Count: 1}},
				RecvQ:  ptr(uint64(0)), SendQ: ptr(uint64(0)), FDs: "9", Inodes: []uint64{301}},
		},
	}
	if got := NewSnapshot(snapshotRows(), info); !reflect.DeepEqual(got, want) {
		t.Errorf("NewSnapshot =\n%s\nwant\n%s", jsonOf(t, got.JSON), jsonOf(t, want.JSON))
	}
}

// Two processes that share a descriptor table hold the same descriptors.
func TestNewSnapshotSharedTable(t *testing.T) {
	rows := snapshotRows()[:2]
	rows[1].Table = rows[0].Table
	got := NewSnapshot(rows, SnapshotInfo{}).Totals
	if want := (SnapshotTotals{Sockets: 1, Descriptors: 1, Processes: 2}); got != want {
		t.Errorf("totals = %+v, want %+v", got, want)
	}
}

func TestSnapshotFitsEveryWidth(t *testing.T) {
	s := NewSnapshot(snapshotRows(), snapshotInfo())
	for width := 60; width <= 200; width += 3 {
		var b bytes.Buffer
		if err := s.Text(&b, TextOptions{Width: width}, 0); err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(b.String(), "\n") {
			if columns(l) > width || strings.TrimRight(l, " ") != l {
				t.Errorf("at width %d: %q is too wide or ends in a space", width, l)
			}
		}
	}
}

func TestSnapshotGolden(t *testing.T) {
	s := NewSnapshot(snapshotRows(), snapshotInfo())
	golden(t, "snapshot-json", []byte(jsonOf(t, s.JSON)))
	for name, o := range map[string]TextOptions{
		"snapshot-60": {Width: 60}, "snapshot-80": {Width: 80}, "snapshot-100": {Width: 100},
	} {
		var b bytes.Buffer
		if err := s.Text(&b, o, 5); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
	var b bytes.Buffer
	if err := NewSnapshot(nil, snapshotInfo()).Text(&b, TextOptions{Width: 80}, 0); err != nil {
		t.Fatal(err)
	}
	golden(t, "snapshot-empty", b.Bytes())
}
