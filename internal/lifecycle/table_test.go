package lifecycle

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"sockleak/internal/event"
)

// The processes and tables of the tests: process N started at N and uses table
// N*10 unless it is said otherwise.

func task(time uint64, kind event.Kind, pid uint32) event.Event {
	return event.Event{Time: time, Kind: kind, PID: pid, TID: pid, Start: uint64(pid), Table: uint64(pid) * 10}
}

func at(time uint64, kind event.Kind, pid uint32, fd int32, inode uint64) event.Event {
	e := task(time, kind, pid)
	e.FD, e.Inode = fd, inode
	if kind == event.Socket || kind == event.Accept {
		e.Sock, e.Stack = tcp(event.StateClose), 7
	}
	return e
}

func tcp(state uint8) event.Sock {
	return event.Sock{Family: afInet, Type: 1, Protocol: protocolTCP, State: state}
}

func on(table uint64, e event.Event) event.Event {
	e.Table = table
	return e
}

func from(table2 uint64, e event.Event) event.Event {
	e.Table2 = table2
	return e
}

func fork(time uint64, pid, child uint32, table2 uint64) event.Event {
	e := from(table2, task(time, event.Fork, pid))
	e.ChildPID, e.ChildStart = child, uint64(child)
	return e
}

func closeRange(begin, time uint64, pid uint32, first, last int32) event.Event {
	e := task(time, event.CloseRange, pid)
	e.Begin, e.FD, e.FD2, e.Table2 = begin, first, last, e.Table
	return e
}

func marking(e event.Event) event.Event {
	e.CloseOnExec = true
	return e
}

func openFDs(time uint64, pid uint32, first, last int32, open ...byte) event.Event {
	e := task(time, event.ExecFDs, pid)
	e.FD, e.FD2, e.OpenFDs = first, last, open
	return e
}

func state(time, inode uint64, old, new uint8) event.Event {
	return event.Event{Time: time, Kind: event.TCPState, Inode: inode, OldState: old, NewState: new, Sock: tcp(new)}
}

func row(time uint64, pid uint32, fd int32, inode uint64) event.Row {
	return event.Row{Time: time, PID: pid, Start: uint64(pid), Table: uint64(pid) * 10, FD: fd, Inode: inode, Sock: tcp(event.StateClose)}
}

// snap is a snapshot to be merged.
type snap struct {
	start, end uint64
	rows       []event.Row
}

// run applies events and snapshots in order and verifies the table after each.
func run(t *testing.T, steps ...any) *Table {
	t.Helper()
	table := New(0)
	for i, s := range steps {
		switch s := s.(type) {
		case event.Event:
			table.Apply(&s)
		case snap:
			table.BeginSnapshot(s.start)
			for j := range s.rows {
				table.Row(&s.rows[j])
			}
			table.EndSnapshot(s.end)
		default:
			t.Fatalf("step %d is a %T", i, s)
		}
		if err := table.check(); err != nil {
			t.Fatalf("after step %d: %v", i, err)
		}
	}
	return table
}

// held lists who holds what: "pid:fd=inode how".
func held(table *Table) []string {
	how := []string{"created", "dup", "fork", "preexisting", "received"}
	var list []string
	for s, holders := range table.Sockets() {
		for _, h := range holders {
			text := fmt.Sprintf("%d:%d=%d %s", h.Process.PID, h.FD, s.Inode, how[h.Via])
			if h.SurvivedExec {
				text += " exec"
			}
			list = append(list, text)
		}
	}
	slices.Sort(list)
	return list
}

func TestDescriptors(t *testing.T) {
	pairHalf := func(fd int32, inode, other uint64) event.Event {
		e := at(1, event.Pair, 1, fd, inode)
		e.Inode2 = other
		return e
	}
	tests := map[string]struct {
		steps []any
		want  []string
	}{
		"socket": {[]any{at(1, event.Socket, 1, 3, 100)}, []string{"1:3=100 created"}},
		"pair": {[]any{pairHalf(3, 100, 101), pairHalf(4, 101, 100)},
			[]string{"1:3=100 created", "1:4=101 created"}},
		"accept": {[]any{at(1, event.Accept, 1, 4, 101)}, []string{"1:4=101 created"}},
		"close":  {[]any{at(1, event.Socket, 1, 3, 100), at(2, event.Close, 1, 3, 100)}, nil},
		"a far descriptor": {[]any{at(1, event.Socket, 1, math.MaxInt32, 100), at(2, event.Socket, 1, 3, 101)},
			[]string{"1:2147483647=100 created", "1:3=101 created"}},
		"close before the number is given to another thread": {
			[]any{at(1, event.Socket, 1, 3, 100), at(2, event.Close, 1, 3, 100), at(3, event.Socket, 1, 3, 101)},
			[]string{"1:3=101 created"}},
		"close that comes after the number was given away": {
			[]any{at(1, event.Socket, 1, 3, 100), at(3, event.Socket, 1, 3, 101), at(2, event.Close, 1, 3, 100)},
			[]string{"1:3=101 created"}},
		"close of a socket whose coming was lost": {
			[]any{at(1, event.Socket, 1, 3, 100), at(5, event.Close, 1, 3, 101)}, nil},
		"dup": {[]any{at(1, event.Socket, 1, 3, 100), at(2, event.Dup, 1, 4, 100), at(3, event.Close, 1, 3, 100)},
			[]string{"1:4=100 dup"}},
		"dup2 over a socket": {
			[]any{at(1, event.Socket, 1, 3, 100), at(2, event.Socket, 1, 4, 101), at(3, event.Dup, 1, 4, 100)},
			[]string{"1:3=100 created", "1:4=100 dup"}},
		"dup2 of a file over a socket": {[]any{at(1, event.Socket, 1, 3, 100), at(2, event.Dup, 1, 3, 0)}, nil},
		"fork": {[]any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 20), at(3, event.Close, 1, 3, 100)},
			[]string{"2:3=100 fork"}},
		"fork that shares the table": {
			[]any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 10), at(3, event.Socket, 1, 4, 101), task(4, event.Exit, 1)},
			[]string{"2:3=100 created", "2:4=101 created"}},
		"fork that shares an empty table": {
			[]any{fork(1, 1, 2, 10), at(2, event.Socket, 1, 3, 100), task(3, event.Exit, 1)},
			[]string{"2:3=100 created"}},
		"fork into a table whose id was used before": {
			[]any{at(1, event.Socket, 2, 9, 100), at(2, event.Socket, 1, 3, 101), fork(3, 1, 3, 20)},
			[]string{"1:3=101 created", "3:3=101 fork"}},
		"exec closes what is close-on-exec": {
			[]any{at(1, event.Socket, 1, 3, 100), at(1, event.Socket, 1, 4, 101), at(1, event.Socket, 1, 70, 102),
				at(1, event.Socket, 1, 71, 103), from(10, task(2, event.Exec, 1)),
				openFDs(3, 1, 0, 63, 1<<4), openFDs(3, 1, 64, math.MaxInt32, 1<<(70-64))},
			[]string{"1:4=101 created exec", "1:70=102 created exec"}},
		"exec of a process that shared its table": {
			[]any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 10), from(10, task(3, event.Exec, 2)), openFDs(4, 2, 0, 63, 1<<3)},
			[]string{"1:3=100 created", "2:3=100 created exec"}},
		"exit":       {[]any{at(1, event.Socket, 1, 3, 100), task(2, event.Exit, 1)}, nil},
		"table exit": {[]any{at(1, event.Socket, 1, 3, 100), on(11, at(2, event.Socket, 1, 3, 101)), on(11, task(3, event.TableExit, 1))}, []string{"1:3=100 created"}},
		"unshare": {
			[]any{at(1, event.Socket, 1, 3, 100), on(11, from(10, task(2, event.Unshare, 1))), on(10, at(3, event.Close, 1, 3, 100))},
			[]string{"1:3=100 created"}},
		"close_range": {
			[]any{at(1, event.Socket, 1, 3, 100), at(1, event.Socket, 1, 4, 101), at(1, event.Socket, 1, 40, 102), closeRange(2, 3, 1, 4, 40)},
			[]string{"1:3=100 created"}},
		"close_range spares what came since it began": {
			[]any{at(1, event.Socket, 1, 3, 100), at(3, event.Socket, 1, 4, 101), closeRange(2, 4, 1, 3, math.MaxInt32)},
			[]string{"1:4=101 created"}},
		"close_range that only marks": {
			[]any{at(1, event.Socket, 1, 3, 100), marking(closeRange(2, 3, 1, 0, math.MaxInt32))},
			[]string{"1:3=100 created"}},
		"close_range in a table of its own": {
			[]any{at(1, event.Socket, 1, 3, 100), at(1, event.Socket, 1, 4, 101), on(11, closeRange(2, 3, 1, 4, 9)), task(4, event.TableExit, 1)},
			[]string{"1:3=100 created"}},
		"close_range that marks in a table of its own": {
			[]any{at(1, event.Socket, 1, 3, 100), on(11, marking(closeRange(2, 3, 1, 0, 9))), task(4, event.TableExit, 1)},
			[]string{"1:3=100 created"}},
		"an inode number that is used again": {
			[]any{at(1, event.Socket, 1, 3, 100), at(2, event.Dup, 1, 4, 100), at(3, event.Socket, 2, 5, 100)},
			[]string{"2:5=100 created"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := held(run(t, test.steps...)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSocketHistory(t *testing.T) {
	remote := netip.MustParseAddrPort("192.0.2.1:443")
	connect := func(time uint64, errno int32, state uint8) event.Event {
		e := at(time, event.Connect, 1, 3, 100)
		e.Errno, e.Sock = errno, tcp(state)
		e.Sock.Remote = remote
		return e
	}
	withErrno := func(e event.Event, errno int32) event.Event {
		e.Errno = errno
		return e
	}
	born := Socket{Inode: 100, Birth: 1, Creator: event.ProcessKey{PID: 1, Start: 1}, Stack: 7, Kind: BySocket,
		Sock: tcp(event.StateClose), StateSince: 1, refs: 1, place: placeLive}
	const refused = 111
	tests := map[string]struct {
		steps []any
		want  func(*Socket)
	}{
		"never used": {nil, func(*Socket) {}},
		"connect in progress": {[]any{state(2, 100, event.StateClose, event.StateSynSent), connect(3, einprogress, event.StateSynSent)}, func(s *Socket) {
			s.Sock.State, s.StateSince, s.Connecting = event.StateSynSent, 2, 2
			s.Attempts, s.ConnectErrno, s.Asked, s.Sock.Remote = 1, einprogress, remote, remote
		}},
		"established before connect returned": {[]any{state(2, 100, event.StateClose, event.StateSynSent),
			state(3, 100, event.StateSynSent, event.StateEstablished), connect(4, einprogress, event.StateEstablished)}, func(s *Socket) {
			s.Sock.State, s.StateSince, s.Established = event.StateEstablished, 3, true
			s.Attempts, s.Asked, s.Sock.Remote = 1, remote, remote
		}},
		"connect told after a state that was newer": {[]any{state(2, 100, event.StateClose, event.StateSynSent),
			state(5, 100, event.StateSynSent, event.StateEstablished), connect(4, einprogress, event.StateSynSent)}, func(s *Socket) {
			s.Sock.State, s.StateSince, s.Established = event.StateEstablished, 5, true
			s.Attempts, s.Asked, s.Sock.Remote = 1, remote, remote
		}},
		"refused later": {[]any{state(2, 100, event.StateClose, event.StateSynSent), connect(3, einprogress, event.StateSynSent),
			withErrno(state(4, 100, event.StateSynSent, event.StateClose), refused)}, func(s *Socket) {
			s.StateSince, s.Errno, s.ConnectErrno = 4, refused, refused
			s.Attempts, s.Asked, s.Sock.Remote = 1, remote, remote
		}},
		"asked again": {[]any{connect(2, refused, event.StateClose), connect(3, ealready, event.StateClose), connect(4, refused, event.StateClose)}, func(s *Socket) {
			s.ConnectErrno, s.Attempts, s.Asked, s.Sock.Remote = refused, 2, remote, remote
		}},
		"disconnected": {[]any{withErrno(at(2, event.Connect, 1, 3, 100), 0)}, func(*Socket) {}},
		"listener, shut down": {[]any{state(2, 100, event.StateClose, event.StateListen), state(3, 100, event.StateListen, event.StateClose)}, func(s *Socket) {
			s.StateSince, s.Listened = 3, true
		}},
		"reset, then destroyed, and still open": {[]any{state(2, 100, event.StateSynSent, event.StateEstablished),
			withErrno(state(3, 100, event.StateEstablished, event.StateClose), 104), event.Event{Time: 4, Kind: event.TCPDestroy, Inode: 100}}, func(s *Socket) {
			s.StateSince, s.Established, s.Errno, s.Destroyed = 3, true, 104, true
		}},
		"news of a socket that had the inode number before": {[]any{state(0, 100, event.StateEstablished, event.StateClose),
			event.Event{Time: 0, Kind: event.TCPDestroy, Inode: 100}}, func(*Socket) {}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			table := run(t, append([]any{at(1, event.Socket, 1, 3, 100)}, test.steps...)...)
			want := born
			test.want(&want)
			if got := *table.sockets[100]; got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestMPTCPSubflowsAreNotTheSocket(t *testing.T) {
	e := at(1, event.Socket, 1, 3, 100)
	e.Sock.Protocol = protocolMPTCP
	table := run(t, e, state(2, 100, event.StateClose, event.StateSynSent), event.Event{Time: 3, Kind: event.TCPDestroy, Inode: 100})
	if s := table.sockets[100]; s.Sock.State != event.StateClose || s.Destroyed {
		t.Errorf("a subflow changed its parent: %+v", s)
	}
}

func TestWindingDown(t *testing.T) {
	established := []any{at(1, event.Socket, 1, 3, 100), state(2, 100, event.StateClose, event.StateEstablished), at(3, event.Close, 1, 3, 100)}
	tests := map[string]struct {
		steps   []any
		winding int
	}{
		"closed while connected": {nil, 1},
		"in FIN-WAIT-2":          {[]any{state(4, 100, event.StateEstablished, event.StateFinWait2)}, 1},
		"in CLOSE":               {[]any{state(4, 100, event.StateEstablished, event.StateClose)}, 0},
		"destroyed":              {[]any{event.Event{Time: 4, Kind: event.TCPDestroy, Inode: 100}}, 0},
		"forgotten":              {[]any{snap{start: windingTime, end: windingTime + 10}}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			table := run(t, append(slices.Clone(established), test.steps...)...)
			want := Totals{Opened: 1, Closed: 1, Winding: test.winding}
			if got := table.Totals(); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if n := len(slices.Collect(table.Winding())); n != test.winding {
				t.Errorf("%d winding, want %d", n, test.winding)
			}
		})
	}
}

func TestProcesses(t *testing.T) {
	e := at(1, event.Socket, 1, 3, 100)
	copy(e.Comm[:], "worker-3")
	e.TID = 9
	table := run(t, e)
	key := event.ProcessKey{PID: 1, Start: 1}
	got, _ := table.Process(key)
	if want := (Process{Key: key, Comm: "worker-3", Descriptors: 1, Opened: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	e = at(2, event.Close, 1, 3, 100)
	copy(e.Comm[:], "server")
	table.Apply(&e)
	e = at(3, event.Dup, 1, 3, 0)
	copy(e.Comm[:], "worker-3")
	e.TID = 9
	table.Apply(&e)
	want := []Process{{Key: key, Comm: "server", Opened: 1}}
	if got := slices.Collect(table.Processes()); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	table.BeginSnapshot(10)
	table.EndSnapshot(11)
	if _, ok := table.Process(key); ok || len(table.fds) != 0 {
		t.Error("an idle process without sockets is kept after a snapshot")
	}
}

func TestCeiling(t *testing.T) {
	table := New(2)
	for i := range 3 {
		e := at(uint64(i+1), event.Socket, 1, int32(3+i), uint64(100+i))
		table.Apply(&e)
	}
	e := at(4, event.Close, 1, 5, 102)
	table.Apply(&e)
	want := Totals{Opened: 2, Live: 2, Full: 1}
	if got := table.Totals(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := table.check(); err != nil {
		t.Error(err)
	}
}
