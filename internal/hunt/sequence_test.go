package hunt

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

var (
	server = netip.MustParseAddrPort("127.0.0.1:1001")
	client = netip.MustParseAddrPort("127.0.0.1:1002")
	nobody = netip.MustParseAddrPort("127.0.0.1:1")
)

func tcp(state uint8, local, remote netip.AddrPort) event.Sock {
	return event.Sock{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: state, Local: local, Remote: remote}
}

// state is a change of a TCP socket's state.
func state(inode uint64, from, to uint8, local, remote netip.AddrPort, errno int32) event.Event {
	return event.Event{
		Kind: event.TCPState, Inode: inode, OldState: from, NewState: to, Errno: errno, Sock: tcp(to, local, remote),
	}
}

// TestSequences compares every event of a few paths, field by field: those of
// each socket in their order, for two ends of a connection act on their own. What
// differs from run to run is numbered in the order it first comes: processes
// and descriptor tables from 1, inode numbers from 101, ports from 1001.
func TestSequences(t *testing.T) {
	needs.Root(t)
	program := workload.Build(t, "fdops")
	none := netip.AddrPort{}
	for _, test := range []struct {
		name, setup, script string
		want                []event.Event
	}{
		{"connect, accept, close", `
			socket tcp -> ok 3
			bind 3 -> ok =PORT
			listen 3 8 -> ok 0`, `
			socket tcp cloexec -> ok 4
			connect 4 $PORT -> ok 0
			accept 3 -> ok 5
			close 5 -> ok 0
			close 4 -> ok 0`, []event.Event{
			{Kind: event.Socket, FD: 4, Inode: 101, Sock: tcp(event.StateClose, none, none)},
			state(101, event.StateClose, event.StateSynSent, none, server, 0),
			state(101, event.StateSynSent, event.StateEstablished, client, server, 0),
			{Kind: event.Connect, FD: 4, Inode: 101, Sock: tcp(event.StateEstablished, client, server)},
			state(101, event.StateEstablished, event.StateCloseWait, client, server, 0),
			{Kind: event.Close, FD: 4, Inode: 101},
			state(101, event.StateCloseWait, event.StateLastAck, client, server, 0),
			state(101, event.StateLastAck, event.StateClose, none, server, 0),
			{Kind: event.TCPDestroy, Inode: 101},
			{Kind: event.Accept, FD: 5, Inode: 102, FD2: 3, Inode2: 103, Sock: tcp(event.StateEstablished, server, client)},
			{Kind: event.Close, FD: 5, Inode: 102},
			state(102, event.StateEstablished, event.StateFinWait1, server, client, 0),
			state(102, event.StateFinWait1, event.StateFinWait2, server, client, 0),
			// It goes on in TIME-WAIT as another thing than a socket.
			state(102, event.StateFinWait2, event.StateClose, none, client, 0),
			{Kind: event.TCPDestroy, Inode: 102},
		}},
		{"a refused connect", "", `
			socket tcp -> ok 3
			connect 3 refused -> err 111
			close 3 -> ok 0`, []event.Event{
			{Kind: event.Socket, FD: 3, Inode: 101, Sock: tcp(event.StateClose, none, none)},
			state(101, event.StateClose, event.StateSynSent, none, nobody, 0),
			state(101, event.StateSynSent, event.StateClose, none, nobody, int32(unix.ECONNREFUSED)),
			{Kind: event.Connect, FD: 3, Inode: 101, Sock: tcp(event.StateClose, none, nobody), Errno: int32(unix.ECONNREFUSED)},
			{Kind: event.Close, FD: 3, Inode: 101},
			{Kind: event.TCPDestroy, Inode: 101},
		}},
		{"dup2 over a socket", `
			socket udp -> ok 3
			socket udp -> ok 4`, `
			dup2 3 4 -> ok 4
			dup2 4 4 -> ok 4
			dup2 0 4 -> ok 4
			dup3 3 9 cloexec -> ok 9`, []event.Event{
			{Kind: event.Dup, FD: 4, Inode: 101, Inode2: 102},
			{Kind: event.Dup, FD: 4, Inode2: 101},
			{Kind: event.Dup, FD: 9, Inode: 101},
		}},
		{"socketpair and double close", "", `
			socketpair -> ok 3 4
			close 3 -> ok 0
			close 3 -> err 9
			close_range 3 200 -> ok 0`, []event.Event{
			{Kind: event.Pair, FD: 3, FD2: 4, Inode: 101, Inode2: 102, Sock: event.Sock{Family: unix.AF_UNIX, Type: unix.SOCK_STREAM, State: event.StateEstablished}},
			{Kind: event.Pair, FD: 4, FD2: 3, Inode: 102, Inode2: 101, Sock: event.Sock{Family: unix.AF_UNIX, Type: unix.SOCK_STREAM, State: event.StateEstablished}},
			{Kind: event.Close, FD: 3, Inode: 101},
			{Kind: event.CloseRange, FD: 3, FD2: 200, Table2: 1, Alone: true},
		}},
		{"processes that part", "socket udp -> ok 3", `
			fork shared -> ok 0 %
			child 0 exec self -> ok exec
			fork shared -> ok 1 %
			child 1 unshare -> ok 0
			child 1 exit -> ok
			reap 1 -> ok 0`, []event.Event{
			{Kind: event.Fork, Table2: 1, ChildPID: 2},
			{Kind: event.Exec, PID: 2, Table: 2, Table2: 1},
			{Kind: event.ExecFDs, PID: 2, Table: 2, OpenFDs: []byte{0x0f}},
			{Kind: event.Fork, Table2: 1, ChildPID: 3},
			{Kind: event.Unshare, PID: 3, Table: 3, Table2: 1, Alone: true},
			{Kind: event.Exit, PID: 3, Table: 3},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, program)
			p.Ready()
			names := map[string]string{}
			for step := range steps(test.setup) {
				obey(t, p, step, names)
			}
			k := follow(t, p.PID, 1<<20, false)
			k.keep = true
			k.steps(p, test.script, names)
			got := normalized(k.events, uint32(p.PID))
			for i := range test.want {
				if w := &test.want[i]; w.Kind != event.TCPState && w.Kind != event.TCPDestroy {
					w.PID, w.Table = max(w.PID, 1), max(w.Table, 1)
				}
			}
			bySocket(got)
			bySocket(test.want)
			for i := range max(len(got), len(test.want)) {
				switch {
				case i >= len(got):
					t.Errorf("event %d is missing, want %+v", i, test.want[i])
				case i >= len(test.want):
					t.Errorf("event %d is not expected: %+v", i, got[i])
				case !reflect.DeepEqual(got[i], test.want[i]):
					t.Errorf("event %d is %+v,\nwant %+v", i, got[i], test.want[i])
				}
			}
			k.lossless()
		})
	}
}

// numbering gives values numbers in the order it first sees them.
type numbering[T comparable] struct {
	first int
	given map[T]int
}

func (n *numbering[T]) of(v T) int {
	var zero T
	if v == zero {
		return 0
	}
	if n.given == nil {
		n.given = map[T]int{}
	}
	if _, ok := n.given[v]; !ok {
		n.given[v] = n.first + len(n.given)
	}
	return n.given[v]
}

// normalized replaces what differs from run to run.
func normalized(events []event.Event, pid uint32) []event.Event {
	pids, tables, inodes := numbering[uint32]{first: 1}, numbering[uint64]{first: 1}, numbering[uint64]{first: 101}
	ports := numbering[uint16]{first: 1001}
	pids.of(pid)
	address := func(a netip.AddrPort) netip.AddrPort {
		if a.Port() <= 1 {
			return a
		}
		return netip.AddrPortFrom(a.Addr(), uint16(ports.of(a.Port())))
	}
	var out []event.Event
	for _, e := range events {
		e.Time, e.Start, e.ChildStart, e.Begin, e.TID, e.Comm, e.Thread = 0, 0, 0, 0, 0, [16]byte{}, [16]byte{}
		if e.OpenFDs != nil {
			// Above 7 are the pipes of the program, and FD2 is as large as
			// the kernel made the table.
			e.OpenFDs, e.FD2 = e.OpenFDs[:1], 0
		}
		e.PID, e.ChildPID = uint32(pids.of(e.PID)), uint32(pids.of(e.ChildPID))
		e.Table2, e.Table = uint64(tables.of(e.Table2)), uint64(tables.of(e.Table))
		e.Inode, e.Inode2 = uint64(inodes.of(e.Inode)), uint64(inodes.of(e.Inode2))
		e.Sock.Remote, e.Sock.Local = address(e.Sock.Remote), address(e.Sock.Local)
		out = append(out, e)
	}
	return out
}

func bySocket(events []event.Event) {
	slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Inode, b.Inode) })
}
