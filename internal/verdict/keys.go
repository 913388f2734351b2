package verdict

import (
	"net/netip"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// What sockets are counted and reported under.

// originKey names the code that creates sockets.
type originKey struct {
	process event.ProcessKey
	stack   uint64
	by      uint64 // what divides it further, see divide
}

// groupKey names what is reported together. Sockets without a stack are told
// apart by what they are for.
type groupKey struct {
	originKey
	class Class // empty: in no condition that a rule names
	label label
	// arrival tells those without a stack apart that no rule accuses: what was
	// made while tracing can only be told to become more by itself.
	arrival lifecycle.Arrival
}

// label is what a socket is for, as far as that can be seen from outside.
type label struct {
	family, kind, protocol uint16
	// peer is the address connected to; or for accepted sockets the local
	// port alone, because every client has an address of its own.
	peer     netip.AddrPort
	accepted bool
	// unbound: its own port isn't known any more, so that it can't be told
	// whether it was accepted. The kernel forgets it with a reset
	// (net/ipv4/inet_hashtables.c: __inet_put_port). Not where no stack is taken: there
	// is no origin that it could be given wrongly.
	unbound bool
}

// fits reports whether a socket with label l may be for what one with the other
// is. Of one from before, whose connect failed, the kernel has forgotten the
// peer; and of one that was reset, whether it was accepted.
func (l label) fits(other label) bool {
	other.unbound = l.unbound
	switch {
	case l.unbound && other.accepted:
		other.accepted, other.peer = false, l.peer
	case !l.accepted && !l.peer.IsValid() && !other.accepted:
		other.peer = l.peer
	}
	return l == other
}

// port is a local port in a process.
type port struct {
	process event.ProcessKey
	number  uint16
}

// Listener is a port of a network namespace that is listened on, whoever does.
type Listener struct {
	NetNS uint32 // its inode number
	Port  uint16
}

// maxListeners bounds the ports that are remembered.
const maxListeners = 1 << 16

// Listening notes a port that is listened on, also by a process that is not looked at:
// it may hand on what it accepts, or have handed on the listener. It reports whether
// that is news. A listener of AF_UNIX has no port, and a socket without one was not
// accepted there.
func (j *Judge) Listening(l Listener) bool {
	if l.Port == 0 || j.listened[l] || len(j.listened) >= maxListeners {
		return false
	}
	j.listened[l] = true
	return true
}

// listeningPorts are the ports that are listened on: a connection on one of
// them was accepted.
func (j *Judge) listeningPorts(t *lifecycle.Table) map[port]bool {
	ports := map[port]bool{}
	for s, holders := range t.Sockets() {
		if s.Sock.State != event.StateListen || s.Sock.Local.Port() == 0 {
			continue
		}
		j.Listening(Listener{s.Facts.NetNS, s.Sock.Local.Port()})
		for _, h := range holders {
			ports[port{h.Process, s.Sock.Local.Port()}] = true
		}
	}
	return ports
}

func (j *Judge) groupOf(s *lifecycle.Socket, holders []lifecycle.Holder, c Class) groupKey {
	process := owner(s, holders)
	id, bare := j.origins.of(process, j.stackOf(process, s))
	key := groupKey{originKey: originKey{process: process, stack: id, by: divide(s)}, class: c}
	if id == 0 || bare {
		key.label = j.labelOf(s, process)
	}
	if id == 0 && c == "" {
		key.arrival = s.Arrival
	}
	return key
}

// owner is the process that a socket is counted for: its creator; if that wasn't
// seen, the oldest that holds it, because it is handed down, not up.
func owner(s *lifecycle.Socket, holders []lifecycle.Holder) event.ProcessKey {
	if s.Creator.PID != 0 || len(holders) == 0 {
		return s.Creator
	}
	oldest := holders[0].Process
	for _, h := range holders[1:] {
		if h.Process.Start < oldest.Start {
			oldest = h.Process
		}
	}
	return oldest
}

func (j *Judge) labelOf(s *lifecycle.Socket, process event.ProcessKey) label {
	l := label{family: s.Sock.Family, kind: s.Sock.Type, protocol: s.Sock.Protocol}
	if j.accepted(s, process) {
		l.accepted = true
		l.peer = netip.AddrPortFrom(netip.Addr{}, s.Sock.Local.Port())
		return l
	}
	l.peer = peer(s)
	l.unbound = !j.Stackless && s.Birth == 0 && s.Sock.IsTCP() && s.Sock.State == event.StateClose && s.Sock.Local.Port() == 0
	return l
}

// accepted reports whether a socket of a process is an accepted connection. Of one
// whose creation wasn't seen the port tells, even if another process listens on it, or
// did: one that passes connections on, or whose child this is. connect(2) chooses no
// port that a socket was bound to (net/ipv4/inet_hashtables.c: __inet_hash_connect).
func (j *Judge) accepted(s *lifecycle.Socket, process event.ProcessKey) bool {
	return s.Kind == lifecycle.ByAccept || j.listening[port{process, s.Sock.Local.Port()}] ||
		s.Kind == lifecycle.ByUnknown && j.listened[Listener{s.Facts.NetNS, s.Sock.Local.Port()}]
}

// peer is the address a socket is, was or should have been connected to.
func peer(s *lifecycle.Socket) netip.AddrPort {
	if s.Sock.Remote.IsValid() {
		return s.Sock.Remote
	}
	return s.Asked
}
