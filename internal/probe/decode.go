package probe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"unsafe"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// ABI is the version of bpf/contract.h. Recordings hold the kernel's records
// as they came, so a recording can be read only by the same version.
const ABI = 8

// Errors of Decode, by what is wrong with a record.
var (
	ErrShort = errors.New("record is shorter than its kind")
	ErrKind  = errors.New("record of an unknown kind")
)

// Address families, as include/linux/socket.h numbers them.
const (
	afInet  = 2
	afInet6 = 10
)

// Decode turns one record of the ring buffer into an event, or into a stack:
// raw is set then, and ev is not touched. It is total: any input gives a result
// or an error. ev.OpenFDs refers to a buffer in ev that the next call reuses.
func Decode(record []byte, ev *event.Event, raw *stack.Raw) (isStack bool, err error) {
	if len(record) < 4 {
		return false, ErrShort
	}
	switch kind := bpfRecordKind(loadUint32(record)); kind {
	case bpfRecordKindREC_STACK:
		return true, decodeStack(record, raw)
	case bpfRecordKindREC_EXEC_FDS:
		return false, decodeExecFDs(record, ev)
	default:
		k := kindOf(kind)
		if k == 0 {
			return false, fmt.Errorf("%w: %d", ErrKind, kind)
		}
		return false, decodeEvent(record, k, ev)
	}
}

func kindOf(k bpfRecordKind) event.Kind {
	switch k {
	case bpfRecordKindREC_SOCKET:
		return event.Socket
	case bpfRecordKindREC_PAIR:
		return event.Pair
	case bpfRecordKindREC_ACCEPT:
		return event.Accept
	case bpfRecordKindREC_CONNECT:
		return event.Connect
	case bpfRecordKindREC_CLOSE:
		return event.Close
	case bpfRecordKindREC_CLOSE_RANGE:
		return event.CloseRange
	case bpfRecordKindREC_DUP:
		return event.Dup
	case bpfRecordKindREC_TCP_STATE:
		return event.TCPState
	case bpfRecordKindREC_TCP_DESTROY:
		return event.TCPDestroy
	case bpfRecordKindREC_FORK:
		return event.Fork
	case bpfRecordKindREC_EXEC:
		return event.Exec
	case bpfRecordKindREC_EXIT:
		return event.Exit
	case bpfRecordKindREC_TABLE_EXIT:
		return event.TableExit
	case bpfRecordKindREC_UNSHARE:
		return event.Unshare
	case bpfRecordKindREC_USE:
		return event.Use
	}
	return 0
}

// load copies a record into a C struct: records in recordings are not aligned,
// and a short one must not be read past its end.
func load[T any](record []byte, to *T) error {
	size := int(unsafe.Sizeof(*to))
	if len(record) < size {
		return ErrShort
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(to)), size), record)
	return nil
}

func loadUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// eventSize is how much there is at least of an event. What may be missing is zero.
func eventSize(kind event.Kind) int {
	switch kind {
	case event.TCPDestroy:
		return int(bpfEventSizeSIZE_TCP_DESTROY)
	case event.Close:
		return int(bpfEventSizeSIZE_CLOSE)
	case event.Socket:
		return int(bpfEventSizeSIZE_SOCKET)
	case event.TCPState:
		return int(bpfEventSizeSIZE_TCP_STATE)
	}
	return int(unsafe.Sizeof(bpfEvent{}))
}

func decodeEvent(record []byte, kind event.Kind, ev *event.Event) error {
	var e bpfEvent
	if len(record) < eventSize(kind) {
		return ErrShort
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e)), record)
	*ev = event.Event{
		Time: e.Time, Kind: kind, PID: e.Pid, TID: e.Tid, Start: e.Start,
		Table: e.Table, Table2: e.Table2, FD: e.Fd, FD2: e.Fd2,
		Inode: e.Inode, Inode2: e.Inode2, Stack: e.Stack, Call: e.Call, Walk: e.Walk, Begin: e.Begin,
		ChildPID: e.ChildPid, ChildStart: e.ChildStart,
		OldState: e.OldState, Errno: e.Err, Op: event.Op(e.Op),
		CloseOnExec: e.Flags&uint8(bpfEventFlagFLAG_CLOEXEC) != 0,
		Spared:      e.Flags&uint8(bpfEventFlagFLAG_SPARED) != 0,
		Alone:       e.Flags&uint8(bpfEventFlagFLAG_ALONE) != 0,
		Comm:        comm(&e.Comm), Thread: comm(&e.Thread),
	}
	if e.Sock.Family != 0 {
		decodeSock(&e.Sock, &ev.Sock)
	}
	if kind == event.TCPState {
		ev.NewState = e.Sock.State
	}
	return nil
}

func decodeExecFDs(record []byte, ev *event.Event) error {
	var x bpfExecFds
	if err := load(record, &x); err != nil {
		return err
	}
	if x.Count == 0 || int(x.Count) > len(x.Open)*64 || x.First > 1<<30 {
		return fmt.Errorf("%w: %d descriptors from %d", ErrShort, x.Count, x.First)
	}
	bits := ev.OpenFDs[:0]
	for _, w := range x.Open[:(x.Count+63)/64] {
		for range 8 {
			bits = append(bits, byte(w))
			w >>= 8
		}
	}
	*ev = event.Event{
		Time: x.Time, Kind: event.ExecFDs, PID: x.Pid, TID: x.Pid, Start: x.Start, Table: x.Table,
		FD: int32(x.First), FD2: int32(x.First + x.Count - 1), OpenFDs: bits,
	}
	return nil
}

func decodeStack(record []byte, raw *stack.Raw) error {
	const head = unsafe.Offsetof(bpfStackRecord{}.Ip)
	var s bpfStackRecord
	if len(record) < int(head) {
		return ErrShort
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s)), unsafe.Sizeof(s)), record)
	if int(s.Depth) > len(s.Ip) || len(record) < int(head)+8*int(s.Depth) {
		return ErrShort
	}
	*raw = stack.Raw{
		ID: s.Id, Process: event.ProcessKey{PID: s.Pid, Start: s.Start}, Caller: s.Caller,
		Truncated: int(s.Depth) == len(s.Ip),
		Addresses: append([]uint64(nil), s.Ip[:s.Depth]...),
	}
	return nil
}

// DecodeRow turns one record of a snapshot into a row. hz is the number of
// jiffies in a second on the machine that made it. The names in row are used
// again if they fit.
func DecodeRow(record []byte, hz uint64, row *event.Row) error {
	var r bpfRow
	if err := load(record, &r); err != nil {
		return err
	}
	if hz == 0 {
		return errors.New("jiffies per second unknown")
	}
	has := func(f bpfRowFlag) bool { return r.Flags&uint16(f) != 0 }
	tail := record[rowSize:]
	local, remote := int(r.LocalName), int(r.RemoteName)
	if len(tail) != local+remote {
		return ErrShort
	}
	names := unixNames(tail[:local], tail[local:], row.Facts.Names)
	*row = event.Row{
		Time: r.Time, PID: r.Pid, Start: r.Start, Table: r.Table, FD: r.Fd, Inode: r.Inode,
		Comm: comm(&r.Comm),
		Facts: event.Facts{
			// The two sets have the same bits; TestFactSets holds them together.
			Known: event.FactSet(r.Known),
			NetNS: r.Netns, PeerInode: r.PeerInode, PeerGone: has(bpfRowFlagROW_PEER_GONE),
			Names: names, Err: r.Err, RecvQ: r.RecvQ, SendQ: r.SendQ,
			LastRx: jiffies(r.LastRx, hz), LastTx: jiffies(r.LastTx, hz),
			BytesIn: r.BytesIn, BytesOut: r.BytesOut,
			Unacked: r.Unacked, Retransmits: r.Retransmits, Probes: r.Probes,
			Begun: has(bpfRowFlagROW_BEGUN), WasEstablished: has(bpfRowFlagROW_WAS_ESTABLISHED),
			Bound: has(bpfRowFlagROW_BOUND), KeepAlive: has(bpfRowFlagROW_KEEPALIVE),
			CloseOnExec: has(bpfRowFlagROW_CLOEXEC), Waiters: has(bpfRowFlagROW_WAITERS),
			RcvShutdown: has(bpfRowFlagROW_RCV_SHUTDOWN), SndShutdown: has(bpfRowFlagROW_SND_SHUTDOWN),
		},
	}
	decodeSock(&r.Sock, &row.Sock)
	return nil
}

// unixNames returns nil without names. A row's are often those of the row
// before, which are used again then.
func unixNames(local, remote []byte, before *event.UnixNames) *event.UnixNames {
	if len(local)+len(remote) == 0 {
		return nil
	}
	var room [2][math.MaxUint8]byte
	local, remote = unixName(room[0][:0], local), unixName(room[1][:0], remote)
	if before != nil && string(local) == before.Local && string(remote) == before.Remote {
		return before
	}
	return &event.UnixNames{Local: string(local), Remote: string(remote)}
}

// unixName appends the text of a sun_path (unix(7)) to b: a path ends at its zero
// byte, an abstract name begins with one.
func unixName(b, path []byte) []byte {
	if len(path) == 0 || path[0] != 0 {
		path, _, _ = bytes.Cut(path, []byte{0})
		return append(b, path...)
	}
	for _, c := range path {
		if c == 0 {
			c = '@'
		}
		b = append(b, c)
	}
	return b
}

// jiffies converts a difference of tcp_jiffies32 to ns. A packet that arrives
// while the row is made can be a jiffy ahead of it.
func jiffies(n uint32, hz uint64) uint64 {
	if int32(n) < 0 {
		return 0
	}
	return uint64(n) * 1_000_000_000 / hz
}

func decodeSock(d *bpfSockDesc, s *event.Sock) {
	*s = event.Sock{Family: d.Family, Type: d.Type, Protocol: d.Protocol, State: d.State}
	if d.Family != afInet && d.Family != afInet6 {
		return
	}
	s.Local = address(d.Family, &d.Local, d.LocalPort)
	s.Remote = address(d.Family, &d.Remote, d.RemotePort)
}

// address is invalid without a port: there is none yet.
func address(family uint16, b *[16]byte, port uint16) netip.AddrPort {
	if port == 0 {
		return netip.AddrPort{}
	}
	if family == afInet {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(*b).Unmap(), port)
}

func comm(c *[16]int8) [16]byte { return *(*[16]byte)(unsafe.Pointer(c)) }
