// Package lifecycle keeps the live table of sockets and of every descriptor
// that refers to them, from the events of the kernel and its snapshots.
//
// A descriptor is a number in a descriptor table (files_struct), which threads
// and sometimes processes share. A socket is an inode number and a birth: the
// number alone is reused. A socket lives while a descriptor refers to it.
//
// Events tell what happened, snapshots what is. Both may be late: each
// descriptor knows the time it was last spoken of, and older news about it
// only adds to what is known of the socket. So events may be applied before or
// after a snapshot that was taken in their midst, and after events were lost
// the next snapshot makes the table right again.
//
// A Table has one owner: it has no locks, no clock (times are those of the
// events, ns of CLOCK_MONOTONIC) and does no I/O.
package lifecycle

import "sockleak/internal/event"

// DefaultMaxSockets is the ceiling of New when none is given.
const DefaultMaxSockets = 1_000_000

const (
	// maxGone bounds the memory of closed sockets. A socket that was sent
	// over an AF_UNIX socket and closed by its sender has no descriptor until
	// it is received: one that is still remembered keeps its origin.
	maxGone = 4096
	// maxWinding bounds the sockets whose descriptors are closed and that the
	// kernel still holds. The oldest give way.
	maxWinding = 16384
	// maxDropped bounds the memory of tables and processes that ended, which
	// keeps older rows of a snapshot from bringing them back.
	maxDropped = 4096

	// closing is how long a close that was announced may take, in ns: Close
	// and TableExit come before the kernel acts, and a snapshot in between
	// still shows the descriptor.
	closing = 100e6
	// windingTime is how long a socket without descriptors is believed to be
	// winding down when nothing is heard of it, in ns: longer than LAST-ACK
	// retransmits with the default tcp_retries2.
	windingTime = 1000e9
)

// Table is the live table.
type Table struct {
	max       int
	sockets   map[uint64]*Socket // by inode: live, winding down or remembered
	fds       map[uint64]*fdTable
	processes map[event.ProcessKey]*process

	threads threads
	arena   arena
	pages   pagePool
	winding queue
	gone    queue
	// dropped says until when rows of a table are old news; exited are the
	// processes whose rows are.
	dropped recent[uint64, uint64]
	exited  recent[event.ProcessKey, struct{}]

	live     int
	arrivals [arrivals]int // of the live sockets
	opened   uint64
	closed   uint64
	repaired uint64
	full     uint64

	snap snapshot
}

// New returns an empty table that stores up to maxSockets live sockets;
// DefaultMaxSockets if it is zero or less.
func New(maxSockets int) *Table {
	if maxSockets <= 0 {
		maxSockets = DefaultMaxSockets
	}
	return &Table{
		max:       maxSockets,
		sockets:   make(map[uint64]*Socket),
		fds:       make(map[uint64]*fdTable),
		processes: make(map[event.ProcessKey]*process),
		threads:   threads{numbers: make(map[[16]byte]uint16)},
		dropped:   newRecent[uint64, uint64](maxDropped),
		exited:    newRecent[event.ProcessKey, struct{}](maxDropped),
	}
}

// Apply brings the table up to date with one event. Events are applied in the
// order the kernel saw them. It keeps nothing of e.
func (t *Table) Apply(e *event.Event) {
	switch e.Kind {
	case event.Socket:
		t.create(e, BySocket)
	case event.Pair:
		t.create(e, ByPair)
	case event.Accept:
		t.create(e, ByAccept)
	case event.Connect:
		t.connect(e)
	case event.Close:
		t.close(e)
	case event.CloseRange:
		t.closeRange(e)
	case event.Dup:
		t.dup(e)
	case event.TCPState:
		t.tcpState(e)
	case event.TCPDestroy:
		t.tcpDestroy(e)
	case event.Fork:
		t.fork(e)
	case event.Exec:
		t.exec(e)
	case event.ExecFDs:
		t.execFDs(e)
	case event.Exit:
		t.exit(e)
	case event.TableExit:
		t.tableExit(e)
	case event.Unshare:
		t.unshare(e)
	}
}

// retain notes one more descriptor of s.
func (t *Table) retain(s *Socket) {
	s.refs++
	if s.refs > 1 {
		return
	}
	switch s.place {
	case placeWinding:
		t.winding.remove(s)
		t.closed--
	case placeGone:
		t.gone.remove(s)
		t.closed--
	}
	s.place, s.Closed = placeLive, 0
	t.live++
	t.arrivals[s.Arrival]++
}

// release notes that a descriptor of s went at the time given, in ns. After
// the last, s may be recycled.
func (t *Table) release(s *Socket, time uint64) {
	s.refs--
	if s.refs > 0 {
		return
	}
	t.live--
	t.arrivals[s.Arrival]--
	t.bury(s, time)
}

// settle closes a socket that got no descriptor when it was added: newer news
// about that descriptor had come first.
func (t *Table) settle(s *Socket, time uint64) {
	if s.place == placeNew {
		t.bury(s, time)
	}
}

// bury sets a socket without descriptors aside.
func (t *Table) bury(s *Socket, time uint64) {
	t.closed++
	s.Closed = time
	if !s.winds() {
		t.remember(s)
		return
	}
	s.place = placeWinding
	t.winding.push(s)
	if t.winding.n > maxWinding {
		t.remember(t.winding.pop())
	}
}

// remember keeps the origin of a closed socket for a while.
func (t *Table) remember(s *Socket) {
	s.place = placeGone
	t.gone.push(s)
	if t.gone.n > maxGone {
		t.forget(t.gone.pop())
	}
}

// forget recycles a socket that is in no queue and has no descriptor.
func (t *Table) forget(s *Socket) {
	delete(t.sockets, s.Inode)
	t.arena.put(s)
}

// add makes a socket that has no descriptor yet, or returns nil if the table
// is full.
func (t *Table) add(inode uint64, a Arrival) *Socket {
	if t.live >= t.max {
		return nil
	}
	s := t.arena.get()
	s.Inode, s.Arrival = inode, a
	t.sockets[inode] = s
	return s
}

// setArrival corrects how a socket is believed to have arrived.
func (t *Table) setArrival(s *Socket, a Arrival) {
	if s.place == placeLive {
		t.arrivals[s.Arrival]--
		t.arrivals[a]++
	}
	s.Arrival = a
}

// unseenArrival is how a socket arrived that is first heard of by now and
// whose creation was not seen.
func (t *Table) unseenArrival() Arrival {
	if t.snap.merged {
		return Received
	}
	return Preexisting
}
