package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
)

const (
	afInet  = 2
	afInet6 = 10

	protoTCP   = 6
	protoUDP   = 17
	protoMPTCP = 262

	econnrefused = 111
	einprogress  = 115
	etimedout    = 110
	econnreset   = 104
)

var (
	server = netip.MustParseAddrPort("10.0.0.9:443")
	other  = netip.MustParseAddrPort("10.0.0.8:5432")
	local  = netip.MustParseAddrPort("10.0.0.1:40000")
)

// app is the process that the tests are about.
const app = 1

const second = time.Second

// world is a kernel with a few processes, seen as sockleak sees it: what is done
// makes events, and a look makes a snapshot. Process N started at N and uses
// table N*10.
type world struct {
	t     testing.TB
	now   uint64 // ns
	inode uint64
	deaf  bool // events are lost
	// thread is what the threads of app are called that make sockets.
	thread string
	socks  []*sock
	table  *lifecycle.Table
	judge  *Judge
	// suspects is what the last look returned.
	suspects int
}

// sock is a socket as the kernel knows it.
type sock struct {
	inode  uint64
	sock   event.Sock
	facts  event.Facts
	fds    []descriptor
	rx, tx uint64 // when data last moved, ns
	queued uint32 // unsent
}

type descriptor struct {
	pid uint32
	fd  int32
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: uint64(1000 * second), inode: 100, table: lifecycle.New(0), judge: NewJudge(Patience{DefaultMinAge, DefaultIdle}, 0)}
	return w
}

func process(pid uint32) event.ProcessKey { return event.ProcessKey{PID: pid, Start: uint64(pid)} }

func (w *world) apply(e event.Event) {
	if w.deaf {
		return
	}
	if e.Kind != event.TCPState {
		e.TID, e.Start, e.Table = e.PID, uint64(e.PID), uint64(e.PID)*10
		e.Comm = [16]byte{'a', 'p', 'p'}
	}
	w.now += uint64(time.Microsecond)
	e.Time = w.now
	switch e.Kind {
	case event.Socket, event.Pair, event.Accept:
		copy(e.Thread[:15], w.thread)
		w.judge.Created(&e)
	case event.Use:
		w.judge.Used(&e)
	}
	w.table.Apply(&e)
}

func tcp() event.Sock {
	return event.Sock{Family: afInet, Type: sockStream, Protocol: protoTCP, State: event.StateClose}
}

func unixStream() event.Sock {
	return event.Sock{Family: afUnix, Type: sockStream, State: event.StateClose}
}

// add makes a socket with one descriptor, and what the kernel knows of its kind.
func (w *world) add(pid uint32, kind event.Sock) *sock {
	w.inode++
	s := &sock{inode: w.inode, sock: kind, fds: []descriptor{{pid, int32(w.inode - 98)}}}
	s.facts.Known = event.KnownWaiters | event.KnownDescriptor
	switch {
	case kind.IsTCP() && kind.Protocol == protoTCP:
		s.facts.Known |= event.KnownBound | event.KnownHistory | event.KnownQueues | event.KnownKeepAlive
	case kind.Family == afUnix:
		s.facts.Known |= event.KnownBound | event.KnownHistory
	case kind.Family == afInet || kind.Family == afInet6:
		s.facts.Known |= event.KnownBound | event.KnownQueues
	}
	w.socks = append(w.socks, s)
	return s
}

// before makes a socket that was there before tracing began, which is before the
// first look.
func (w *world) before(kind event.Sock) *sock {
	w.t.Helper()
	if w.table.Totals().Live > 0 {
		w.t.Fatal("the first look has been")
	}
	return w.add(app, kind)
}

// beforeAt is before in a state, connected to a peer or having been.
func (w *world) beforeAt(state uint8, peer netip.AddrPort) *sock {
	s := w.before(tcp())
	s.facts.Begun, s.facts.WasEstablished = true, true
	s.sock.State = state
	if state != event.StateClose {
		s.sock.Local, s.sock.Remote = local, peer
	}
	s.established(w.now - uint64(100*second))
	return s
}

func (s *sock) established(now uint64) {
	s.facts.Known |= event.KnownActivity | event.KnownBytes
	s.facts.Begun, s.facts.WasEstablished, s.facts.Bound = true, true, true
	s.rx, s.tx = now, now
}

func (w *world) create(kind event.Kind, pid uint32, stack uint64, sk event.Sock) *sock {
	s := w.add(pid, sk)
	w.apply(event.Event{Kind: kind, PID: pid, FD: s.fds[0].fd, Inode: s.inode, Sock: sk, Stack: stack})
	return s
}

func (w *world) socket(stack uint64) *sock { return w.create(event.Socket, app, stack, tcp()) }

// state changes the state of a TCP socket.
func (w *world) state(s *sock, to uint8, errno int32) {
	from := s.sock.State
	s.sock.State = to
	told := s.sock
	switch to {
	case event.StateSynSent:
		s.facts.Begun, s.facts.WasEstablished = true, false
	case event.StateEstablished:
		if s.sock.Protocol == protoTCP {
			s.established(w.now)
		}
	case event.StateClose:
		s.sock.Local, s.sock.Remote = netip.AddrPort{}, netip.AddrPort{}
		s.facts.Bound = false
	}
	w.apply(event.Event{Kind: event.TCPState, Inode: s.inode, OldState: from, NewState: to, Errno: errno, Sock: told})
}

// dial begins a connect to a peer that doesn't answer yet.
func (w *world) dial(s *sock, peer netip.AddrPort) {
	s.sock.Local, s.sock.Remote = local, peer
	w.state(s, event.StateSynSent, 0)
	w.connected(s, peer, einprogress)
}

func (w *world) connected(s *sock, peer netip.AddrPort, errno int32) {
	asked := s.sock
	asked.Remote = peer
	w.apply(event.Event{Kind: event.Connect, PID: app, FD: s.fds[0].fd, Inode: s.inode, Errno: errno, Sock: asked})
}

func (w *world) refuse(s *sock, peer netip.AddrPort) {
	w.dial(s, peer)
	w.state(s, event.StateClose, econnrefused)
}

func (w *world) connect(s *sock, peer netip.AddrPort) *sock {
	w.dial(s, peer)
	w.state(s, event.StateEstablished, 0)
	return s
}

// accept makes an accepted connection on a port of its own.
func (w *world) accept(stack uint64, from netip.AddrPort) *sock {
	k := tcp()
	k.State, k.Local, k.Remote = event.StateEstablished, netip.AddrPortFrom(local.Addr(), 80), from
	s := w.create(event.Accept, app, stack, k)
	s.established(w.now)
	return s
}

func (w *world) bind(s *sock) {
	s.facts.Bound = true
	if s.sock.Family != afUnix {
		s.sock.Local = netip.AddrPortFrom(local.Addr(), 80)
	}
}

// listen makes a bound socket listen; AF_UNIX has no event for it.
func (w *world) listen(s *sock) {
	w.bind(s)
	if s.sock.IsTCP() {
		w.state(s, event.StateListen, 0)
	}
	s.sock.State = event.StateListen
}

// fin: the peer closes its side, and n bytes of its are unread, the FIN as one.
func (w *world) fin(s *sock, n uint32) {
	s.facts.RecvQ = n
	w.state(s, event.StateCloseWait, 0)
}

func (w *world) reset(s *sock) { w.state(s, event.StateClose, econnreset) }

func (w *world) send(s *sock) {
	s.tx = w.now
	s.facts.BytesOut += 1000
}

// receive: data comes, and is read.
func (w *world) receive(s *sock, n uint64) {
	s.rx = w.now
	s.facts.BytesIn += n
}

// unanswered: data was sent, and n times again, without an answer.
func (w *world) unanswered(s *sock, n uint8) {
	w.send(s)
	s.facts.Known |= event.KnownDelivery
	s.facts.Unacked, s.facts.Retransmits, s.queued = 1000, n, 1000
}

func (w *world) close(s *sock) {
	for _, d := range s.fds {
		w.apply(event.Event{Kind: event.Close, PID: d.pid, FD: d.fd, Inode: s.inode})
	}
	w.gone(s)
}

// gone takes a socket out of the kernel's tables.
func (w *world) gone(s *sock) {
	w.socks = slices.DeleteFunc(w.socks, func(o *sock) bool { return o == s })
}

// closeIn closes the descriptors of one process.
func (w *world) closeIn(pid uint32, s *sock) {
	s.fds = slices.DeleteFunc(s.fds, func(d descriptor) bool {
		if d.pid == pid {
			w.apply(event.Event{Kind: event.Close, PID: pid, FD: d.fd, Inode: s.inode})
		}
		return d.pid == pid
	})
	if len(s.fds) == 0 {
		w.gone(s)
	}
}

func (w *world) fork(parent, child uint32) {
	w.apply(event.Event{Kind: event.Fork, PID: parent, Table2: uint64(child) * 10, ChildPID: child, ChildStart: uint64(child)})
	for _, s := range w.socks {
		for _, d := range s.fds {
			if d.pid == parent {
				s.fds = append(s.fds, descriptor{child, d.fd})
			}
		}
	}
}

// exec keeps all descriptors open.
func (w *world) exec(pid uint32) {
	w.apply(event.Event{Kind: event.Exec, PID: pid, Table2: uint64(pid) * 10})
}

// exit ends a process, under test as with JudgeEnd.
func (w *world) exit(pid uint32) {
	w.judge.End(w.now, process(pid), w.table)
	w.apply(event.Event{Kind: event.Exit, PID: pid})
	w.judge.Forget(process(pid))
	for _, s := range slices.Clone(w.socks) {
		s.fds = slices.DeleteFunc(s.fds, func(d descriptor) bool { return d.pid == pid })
		if len(s.fds) == 0 {
			w.gone(s)
		}
	}
}

func (w *world) sleep(d time.Duration) { w.now += uint64(d) }

// look takes a snapshot and judges.
func (w *world) look() {
	w.sleep(time.Millisecond)
	w.table.BeginSnapshot(w.now)
	for _, s := range w.socks {
		f := s.facts
		if f.Known&event.KnownActivity != 0 {
			f.LastRx, f.LastTx = w.now-s.rx, w.now-s.tx
		}
		f.SendQ = s.queued
		for _, d := range s.fds {
			w.table.Row(&event.Row{Time: w.now, PID: d.pid, Start: uint64(d.pid), Table: uint64(d.pid) * 10, FD: d.fd,
				Inode: s.inode, Comm: [16]byte{'a', 'p', 'p'}, Sock: s.sock, Facts: f})
		}
	}
	w.table.EndSnapshot(w.now)
	w.suspects = w.judge.Look(w.now, w.table, fakeNames{})
}

// watch looks every other second for a time, and lets something happen before
// each look.
func (w *world) watch(d time.Duration, each ...func(i int)) {
	for i := range int(d / (2 * second)) {
		for _, do := range each {
			do(i)
		}
		w.sleep(2 * second)
		w.look()
	}
}

func (w *world) findings() []Finding { return w.judge.Findings(w.table, fakeNames{}) }

// brief says of each finding what tells them apart.
func (w *world) brief() []string {
	var list []string
	for _, f := range w.findings() {
		s := fmt.Sprintf("%d %s, %s", f.Count, f.Class, f.Confidence)
		switch {
		case f.Origin.Quality == stack.None:
			s += ", no origin"
		case f.Origin.Inferred:
			s += ", inferred " + f.Origin.Frames[0].Function
		default:
			s += ", " + f.Origin.Frames[0].Function
		}
		list = append(list, s)
	}
	return list
}

// fakeNames names stack 7 at_7, and 107 and 207 too: code that was compiled again.
// Stacks from 500 to 699 are partial, and those from 600 to 799 have a frame more. Those from
// 1,000 on have no frame. Those from 900 on have none of the program's own, and of these
// those from 950 on are partial.
type fakeNames struct{}

func (fakeNames) Process(p event.ProcessKey) Process {
	comm := "app"
	if p.PID != app {
		comm = fmt.Sprintf("child%d", p.PID)
	}
	exe := "/app/" + comm
	return Process{PID: p.PID, Comm: comm, Exe: &exe}
}

// Host: 192.0.2.7 is called seven.
func (fakeNames) Host(_ event.ProcessKey, address netip.Addr) string {
	if address == netip.AddrFrom4([4]byte{192, 0, 2, 7}) {
		return "seven"
	}
	return ""
}

func (fakeNames) Origin(_ event.ProcessKey, id uint64) stack.Origin {
	if id >= 1000 {
		return stack.Origin{Quality: stack.None, Reason: "lost"}
	}
	quality := stack.Complete
	if id >= 500 && id < 700 || id >= 950 {
		quality = stack.Partial
	}
	if id >= 900 {
		return stack.Origin{Quality: quality, Frames: []stack.Frame{{Function: "loop", Module: "/lib/libc.so.6", Kind: stack.Native}}}
	}
	frames := []stack.Frame{{Function: fmt.Sprintf("at_%d", id%100), Module: "/app/app", Address: id, Kind: stack.Native}}
	if id >= 600 && id < 800 {
		frames = append(frames, stack.Frame{Function: "caller", Module: "/app/app", Kind: stack.Native})
	}
	return stack.Origin{Quality: quality, Frames: frames}
}
