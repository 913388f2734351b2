// Package event defines what sockleak knows about the world: what processes
// did to sockets, as seen by the kernel. Every other package may import it and
// it imports none of them.
//
// A live kernel, a kernel snapshot and a recorded file all speak in these
// types, so everything behind them can be tested without root.
package event

import "net/netip"

// Kind says what happened.
type Kind uint8

// The kinds of events. The comment names the fields that are set beyond Time,
// Kind, PID, TID, Start, Table and Comm; all others are zero.
const (
	// Socket: socket(2) returned FD. Inode, Sock, Stack, Thread.
	Socket Kind = iota + 1
	// Pair: one half of a socketpair(2), one event for each. FD, Inode,
	// Inode2 (the other half), Sock, Stack, Thread.
	Pair
	// Accept: accept(2) or accept4(2) returned FD. Inode, FD2 and Inode2
	// (the listening descriptor and its socket), Sock, Stack, Thread.
	Accept
	// Connect: connect(2) returned. FD, Inode, Errno (0, or the positive
	// error number, EINPROGRESS included), Sock with Remote as the caller
	// asked for it. Remote is invalid for AF_UNSPEC (disconnect) and
	// families other than AF_INET and AF_INET6.
	Connect
	// Close: close(2) is about to free FD. Inode (what the descriptor
	// referred to when close was entered).
	Close
	// CloseRange: close_range(2) succeeded. FD and FD2 (first and last,
	// inclusive; FD2 is math.MaxInt32 when it was larger), Table2 (the table
	// it was called on: Table differs from it after CLOSE_RANGE_UNSHARE, and
	// is then a copy without the range), Begin, CloseOnExec (descriptors
	// were only marked; none was closed).
	CloseRange
	// Dup: dup, dup2, dup3 or fcntl(F_DUPFD*) returned FD, which now refers
	// to Inode (zero when it isn't a socket). Inode2: the socket that FD
	// referred to before and that was closed by dup2 or dup3, else zero.
	Dup
	// TCPState: a TCP socket changed from OldState to NewState. Inode, Sock,
	// Errno (the socket's pending error, positive: why it went to CLOSE).
	// Runs in any task or none: PID, TID, Table, Start and Comm are zero.
	TCPState
	// TCPDestroy: the kernel let go of a TCP socket that had a connection or
	// listened. Inode. Like TCPState it belongs to no process.
	TCPDestroy
	// Fork: PID made the process ChildPID. Table2 (the child's table: equal
	// to Table for CLONE_FILES, else a fresh copy of it), ChildStart. Threads
	// of one process that share its table make no event.
	Fork
	// Exec: the process runs another program from here on. Table (the
	// table after exec unshared it), Table2 (the table before). Its
	// close-on-exec descriptors are gone; ExecFDs follows with the rest.
	Exec
	// ExecFDs: a part of the descriptors that are open right after an exec:
	// FD (the first descriptor number the part speaks of), FD2 (the last,
	// inclusive), OpenFDs. A descriptor in [FD, FD2] without a bit is closed.
	ExecFDs
	// Exit: the last thread of PID ends; its descriptors are about to be
	// released.
	Exit
	// TableExit: a thread ends that was the last to use Table, while its
	// process lives on.
	TableExit
	// Unshare: unshare(CLONE_FILES) gave the thread Table, a copy of Table2.
	Unshare
	// Use: a call on a socket said that it is over, or that the program has
	// done with it. FD, Inode, Op, Errno (of the call; of SOError the value;
	// zero for the end of file), Stack. Only where it was asked for.
	Use
)

// Op is what was done to a socket by a Use.
type Op uint8

// The operations, as bpf/contract.h numbers them. Read and Write stand for the
// whole family of calls.
const (
	Read     Op = iota + 1 // returned zero bytes, or an error
	Write                  // returned an error
	Shutdown               // shutdown(2)
	EpollDel               // epoll_ctl(2), EPOLL_CTL_DEL
	SOError                // getsockopt(2) of SO_ERROR, which was not zero
)

// What Event.Walk is when it names no walk.
const (
	WalkNone   uint64 = iota // no copy of the stack was wanted
	WalkLost                 // it found no place in the ring buffer
	WalkSpared               // the process has had its share of copies
)

// TCP states as include/net/tcp_states.h numbers them. Sock.State uses them
// for every family: a socket that is not connected is in Close.
const (
	StateEstablished uint8 = iota + 1
	StateSynSent
	StateSynRecv
	StateFinWait1
	StateFinWait2
	StateTimeWait
	StateClose
	StateCloseWait
	StateLastAck
	StateListen
	StateClosing
	StateNewSynRecv
)

// ProcessKey identifies a process: PID is its thread group id in the initial
// pid namespace, Start its start time in ns of CLOCK_BOOTTIME
// (task_struct.start_boottime), because the number alone is reused.
type ProcessKey struct {
	PID   uint32
	Start uint64
}

// Sock is what a socket is, as the kernel describes it at the moment of an
// event or a snapshot row.
type Sock struct {
	Family   uint16 // AF_*
	Type     uint16 // SOCK_*
	Protocol uint16 // IPPROTO_*, 262 for MPTCP
	State    uint8  // State*; TCP's own for TCP, the closest for others
	// Local and Remote are invalid where there is none. IPv4-mapped IPv6
	// addresses are unmapped to IPv4.
	Local, Remote netip.AddrPort
}

// Event is one thing that happened, in the order the kernel saw it. It holds
// no pointer of its own except OpenFDs, so that a reader may reuse it.
type Event struct {
	Time uint64 // ns of CLOCK_MONOTONIC
	Kind Kind
	PID  uint32 // thread group id, initial pid namespace
	TID  uint32
	// Start is the start time of PID, see ProcessKey.
	Start uint64
	// Table names the descriptor table (files_struct) of the acting task. It
	// is an opaque number, unique among the tables that exist at one time.
	Table, Table2 uint64

	FD, FD2       int32
	Inode, Inode2 uint64 // inode numbers on sockfs; zero: not a socket
	Sock          Sock
	// Stack names the stack that was taken, zero if none was. The frames
	// came earlier in the same stream. Where it was Spared, this is Call.
	Stack uint64
	// Call tells calls apart by less than a stack: what was made by one call
	// has one of these, and so may have what was made by others. Zero where
	// no stacks are taken.
	Call uint64
	// Spared: the stack was left out, to stay within the budget.
	Spared bool
	// Walk names the stack as it is walked by unwind tables, see WalkNone.
	Walk  uint64
	Begin uint64 // when the call was entered; CloseRange only

	ChildPID           uint32
	ChildStart         uint64
	OldState, NewState uint8
	Errno              int32
	CloseOnExec        bool
	Op                 Op
	Alone              bool     // the acting thread is the only one of PID; Unshare and CloseRange
	OpenFDs            []byte   // bitmap, bit 0 of byte 0 is FD; valid until the next event
	Comm               [16]byte // of the process, that is of its first thread
	// Thread is the name of the thread that made the socket (pthread_setname_np(3),
	// comm in /proc/PID/task/TID), of Socket, Pair and Accept: 15 bytes at most. A
	// thread that was given none has that of the one that started it.
	Thread [16]byte
}

// Row is one descriptor in a snapshot: what the kernel's tables said at Time.
// Every value was read at that moment, whatever happened before.
type Row struct {
	Time  uint64 // ns of CLOCK_MONOTONIC
	PID   uint32 // thread group id, initial pid namespace
	Start uint64
	Table uint64
	FD    int32
	Inode uint64
	Comm  [16]byte
	Sock  Sock
	Facts Facts
}

// Facts is the condition of a socket at one moment.
type Facts struct {
	// Known says which of the fields below the kernel could tell.
	Known FactSet

	// Retransmits is how often in a row the oldest data that is not acknowledged
	// was sent again because the retransmission timer ran out, Probes how many
	// window or keepalive probes in a row were not answered (tcp_info:
	// tcpi_retransmits, tcpi_probes). Neither stays above zero for long while the
	// peer is there.
	Retransmits, Probes uint8
	// NetNS is the inode number of the socket's network namespace.
	NetNS uint32
	// PeerInode is, for AF_UNIX, the inode of the connected peer; zero where
	// there is none, or PeerGone.
	PeerInode uint64
	// Names are those of an AF_UNIX socket, nil if there are none: a pointer,
	// because the table keeps the facts of every socket.
	Names *UnixNames
	// Err is the socket's pending error (sk_err), positive, zero if none.
	Err int32
	// RecvQ and SendQ are bytes as ss(8) shows them: received and unread,
	// where the peer's FIN counts as one; sent or queued and not
	// acknowledged. For a listener RecvQ is the
	// number of connections that wait to be accepted and SendQ the limit.
	RecvQ, SendQ uint32
	// Unacked is the part of SendQ, in bytes, that was sent and is not
	// acknowledged.
	Unacked uint32
	// LastRx and LastTx are how long ago, in ns, data was last received or
	// sent. For a socket that never carried data they count from the
	// moment it was established (tcp_info: tcpi_last_data_recv).
	LastRx, LastTx uint64
	// BytesIn and BytesOut are the bytes of payload received in order, and
	// sent, retransmissions left out.
	BytesIn, BytesOut uint64
	// Begun: a TCP connect was begun on this socket at some time.
	Begun bool
	// WasEstablished: the TCP handshake was completed at some time.
	WasEstablished bool
	Bound          bool // has a local address of its own
	KeepAlive      bool // SO_KEEPALIVE
	CloseOnExec    bool // of this descriptor
	// Waiters: the socket's wait queue is not empty: a thread is blocked on
	// it, or an epoll instance or a poll(2) watches it.
	Waiters bool
	// RcvShutdown and SndShutdown: no more data will come, or can be sent.
	RcvShutdown, SndShutdown bool
	// PeerGone: the AF_UNIX peer it was connected to has been closed. The
	// state of a stream socket stays ESTAB then (net/unix/af_unix.c:
	// unix_release_sock only shuts the survivor down).
	PeerGone bool
}

// UnixNames are the names of an AF_UNIX socket and of its peer as ss(8) writes
// them: a path, or "@" and an abstract name, with "@" for each zero byte in it.
// Empty: that one has none (unix(7), unnamed).
type UnixNames struct{ Local, Remote string }

// UnixNames returns Names, or two empty ones.
func (f *Facts) UnixNames() UnixNames {
	if f.Names == nil {
		return UnixNames{}
	}
	return *f.Names
}

// FactSet is a set of groups of facts.
type FactSet uint16

// The groups: what is not in the set is not known.
const (
	KnownQueues     FactSet = 1 << iota // RecvQ, SendQ
	KnownActivity                       // LastRx, LastTx
	KnownBytes                          // BytesIn, BytesOut
	KnownHistory                        // Begun, WasEstablished
	KnownWaiters                        // Waiters
	KnownKeepAlive                      // KeepAlive
	KnownBound                          // Bound
	KnownDescriptor                     // CloseOnExec
	KnownDelivery                       // Unacked, Retransmits, Probes
	KnownPeer                           // PeerInode, PeerGone
)

// Loss counts what could not be recorded. All counters only grow.
type Loss struct {
	RingFull     uint64 `json:"ring_full"`     // events that found no place in the ring buffer
	MapFull      uint64 `json:"map_full"`      // entries that found no place in a kernel map
	StackMissing uint64 `json:"stack_missing"` // stacks the kernel could not walk or store
	ProbeSkipped uint64 `json:"probe_skipped"` // runs the kernel skipped because another program was running
	StateSkipped uint64 `json:"state_skipped"` // TCP states that were missed, skipped or beyond --max-sockets: no descriptor is concerned, and the next snapshot shows the state
	DecodeError  uint64 `json:"decode_error"`  // records that could not be understood
	TableFull    uint64 `json:"table_full"`    // sockets beyond the agent's own ceiling
}

// Events is the number of lifecycle events that are missing: after it grows,
// only a snapshot can tell what is open.
func (l Loss) Events() uint64 {
	return l.RingFull + l.ProbeSkipped + l.DecodeError + l.TableFull + l.MapFull
}

// Comm returns the name in a comm field.
func Comm(c *[16]byte) string {
	for i, b := range c {
		if b == 0 {
			return string(c[:i])
		}
	}
	return string(c[:])
}
