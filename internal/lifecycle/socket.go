package lifecycle

import (
	"net/netip"
	"unsafe"

	"sockleak/internal/event"
)

// Creation is the call that created a socket.
type Creation uint8

// The ways to create a socket. ByUnknown: its creation was not seen.
const (
	ByUnknown Creation = iota
	BySocket
	ByPair
	ByAccept
)

// Asking says how it is known who asked for a socket.
type Asking uint8

// The ways to know it. ByLibuv: by the stack on which the libuv handle was made.
// ByGo: by the go statement that started the goroutine. ByLibuvSpared: it would be by
// the handle's stack, which was left out to stay within the budget.
const (
	NotAsked Asking = iota
	ByLibuv
	ByGo
	ByLibuvSpared
)

// Arrival says how a socket came into the table.
type Arrival uint8

// The arrivals. Received: first seen after tracing began in a process that
// was not seen to create or inherit it: passed by SCM_RIGHTS or pidfd_getfd,
// made by io_uring, or the event was lost.
const (
	Created Arrival = iota
	Preexisting
	Received

	arrivals = iota
)

// place is which list of the table a socket is on.
type place uint8

const (
	placeNew place = iota // none yet
	placeLive
	placeWinding
	placeGone
)

// Socket is one socket. Those who query the table must not change it, nor keep
// the pointer across a call of Apply, Row or EndSnapshot: it is recycled.
// Inode and Birth together stay its name.
//
// All times are ns of CLOCK_MONOTONIC; zero is unknown, or never.
type Socket struct {
	Inode uint64
	Birth uint64 // zero if its creation was not seen

	// Creator to Other are zero if the creation was not seen.
	Creator event.ProcessKey
	Stack   uint64 // see event.Event.Stack
	// AskStack is the stack where the program asked for the socket, zero if it
	// is not known to be another than where it was made; AskVia says how it is
	// known. Where that is ByLibuvSpared, it is the call that made the handle, which
	// tells less than a stack.
	AskStack uint64
	// Other is the listening socket of an accepted one, or the other half of
	// a pair, as inode number.
	Other  uint64
	Kind   Creation
	AskVia Asking

	Arrival Arrival
	// Lack is why Stack isn't the best there could be.
	Lack event.Lack
	// Established: the socket was connected at some time.
	Established bool
	// Destroyed: the kernel let go of the TCP socket behind it.
	Destroyed bool
	// Thread is the thread that created it, for Table.ThreadName; zero if its
	// name is not known. A number, because most threads make many sockets.
	Thread uint16

	// Sock is what it is now. Addresses are the last known: a TCP socket in
	// CLOSE has lost its own.
	Sock event.Sock
	// Errno is the pending error with which it went to CLOSE, positive.
	Errno int32

	// ConnectErrno is how the last connect ended, positive, zero for success;
	// EINPROGRESS while it isn't known.
	ConnectErrno int32
	// Attempts counts the calls of connect that returned, those that only
	// asked for the result of an earlier one left out. It stops at 65,535.
	Attempts uint16
	// Listened: it was a listener until it was shut down.
	Listened bool
	place    place
	refs     int32
	// Connecting is when the connect that is in progress began.
	Connecting uint64
	// Asked is the address that the last connect was called with.
	Asked netip.AddrPort

	// StateSince is when Sock.State was entered; zero if that wasn't seen.
	StateSince uint64
	// StateSeen is the first snapshot row that showed it in Sock.State.
	StateSeen uint64
	// Seen is the time of the last row that showed it, and of Facts, whose
	// CloseOnExec is that of any of its descriptors.
	Seen  uint64
	Facts event.Facts

	// Closed is when its last descriptor went.
	Closed uint64

	prev, next *Socket // in the queue or the free list it is on
}

// Descriptors is the number of descriptors that refer to the socket.
func (s *Socket) Descriptors() int { return int(s.refs) }

// InState is the earliest time that the socket is known to be in its present
// state without a break, in ns; zero if nothing is known.
func (s *Socket) InState() uint64 {
	if s.StateSince != 0 {
		return s.StateSince
	}
	return s.StateSeen
}

// arenaChunk is how many sockets are allocated at once: what fits into 32 KiB,
// the largest size that the allocator doesn't round up by much.
const arenaChunk = 32 << 10 / int(unsafe.Sizeof(Socket{}))

// arena allocates sockets in chunks and reuses them.
type arena struct {
	free  *Socket
	chunk []Socket // what is left of the newest chunk
}

// get returns a zero socket.
func (a *arena) get() *Socket {
	if s := a.free; s != nil {
		a.free = s.next
		s.next = nil
		return s
	}
	if len(a.chunk) == 0 {
		a.chunk = make([]Socket, arenaChunk)
	}
	s := &a.chunk[0]
	a.chunk = a.chunk[1:]
	return s
}

// put takes back a socket that nothing refers to.
func (a *arena) put(s *Socket) {
	*s = Socket{next: a.free}
	a.free = s
}

// queue is a first-in, first-out list of sockets, linked through them.
type queue struct {
	head, tail *Socket // oldest and newest
	n          int
}

func (q *queue) push(s *Socket) {
	s.prev, s.next = q.tail, nil
	if q.tail != nil {
		q.tail.next = s
	} else {
		q.head = s
	}
	q.tail = s
	q.n++
}

func (q *queue) remove(s *Socket) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		q.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		q.tail = s.prev
	}
	s.prev, s.next = nil, nil
	q.n--
}

// pop removes and returns the oldest; there must be one.
func (q *queue) pop() *Socket {
	s := q.head
	q.remove(s)
	return s
}
