package verdict

import (
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// DefaultMinAge is how long a socket must have been in its condition before it
// is reported. Refused, reset and half-closed sockets that a program will close
// it closes within milliseconds; a garbage collector may take longer.
const DefaultMinAge = 5 * time.Second

// connectPatience is how long a connect that somebody waits for may take, in
// ns: with tcp_syn_retries at its default of 6, connect(2) gives up after 127 s
// (tcp(7)).
const connectPatience = uint64(130 * time.Second)

// As include/linux/socket.h and net.h number them.
const (
	afUnix        = 1
	sockStream    = 1
	sockSeqpacket = 5
)

// condition is what a rule says of one socket: its class, and since when it has
// been in that condition, in ns of CLOCK_MONOTONIC.
type condition struct {
	class Class
	since uint64
	// patience is how long it must last at least, in ns, whatever the minimal
	// age.
	patience uint64
	// innocent: it may well pass, so that it doesn't count with older ones of its
	// origin before its own time.
	innocent bool
	// grown: nothing speaks against it but the growth of its origin.
	grown bool
	// vague: since is only known not to be later. It counts from the look that
	// first saw it.
	vague bool
	// atLeast: since is only known not to be earlier. The earliest that any look
	// found counts.
	atLeast bool
	// mark changes when the socket was of use in between: the time counts anew.
	mark uint64
}

// subject is a socket as the rules see it.
type subject struct {
	*lifecycle.Socket
	now     uint64
	minAge  uint64 // ns
	idle    uint64 // ns
	holders []lifecycle.Holder
	// ended: the socket was open when its last process ended, so that no
	// snapshot can be asked any more.
	ended bool
}

func (s subject) knows(set event.FactSet) bool { return s.Facts.Known&set == set }

// rules are tried in this order; the first that applies names the class. Those
// that need to know more than the one socket are the judge's: see supersede and
// growing.
func rules() []func(subject) (condition, bool) {
	return []func(subject) (condition, bool){
		inherited, neverUsed, connectPending, connectFailed, dead, peerClosed, peerGone, halfClosed, halfOpen, unread,
	}
}

// judge returns the condition of a socket, if it is in one that no program wants.
func (j *Judge) judge(s subject) (condition, bool) {
	if exempt(s) {
		return condition{}, false
	}
	for _, rule := range rules() {
		if c, ok := rule(s); ok {
			return c, true
		}
	}
	return j.supersededBy(s)
}

// begun: a connection was asked for at some time.
func begun(s subject) bool {
	return s.Attempts > 0 || s.knows(event.KnownHistory) && s.Facts.Begun
}

// established: there was a connection at some time. The kernel's memory counts
// more than ours, where it is not older than the state: it begins anew with each
// connect, and an interrupted one can look like success.
func established(s subject) bool {
	if s.Sock.IsTCP() && s.knows(event.KnownHistory) && s.Seen >= s.StateSince {
		return s.Facts.WasEstablished
	}
	return s.Established || s.knows(event.KnownHistory) && s.Facts.WasEstablished
}

// neverUsed: a stream socket on which neither connect nor bind nor listen was
// called. Byte counts say nothing here: an idle pool has none.
func neverUsed(s subject) (condition, bool) {
	if s.Sock.State != event.StateClose || begun(s) || established(s) {
		return condition{}, false
	}
	if !s.knows(event.KnownBound|event.KnownHistory) && !s.ended {
		return condition{}, false
	}
	if s.Facts.Bound || s.Listened {
		return condition{}, false
	}
	since := s.Birth
	if since == 0 {
		since = s.InState()
	}
	return condition{class: NeverUsed, since: since}, since != 0
}

// connectPending: SYN-SENT, and nobody waits for the answer. Somebody who does
// is given the time a connect may take.
func connectPending(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || s.Sock.State != event.StateSynSent {
		return condition{}, false
	}
	c := condition{class: ConnectPending, since: s.InState()}
	if !s.knows(event.KnownWaiters) || s.Facts.Waiters || s.Seen < s.StateSince {
		c.patience, c.innocent = connectPatience, true
	}
	return c, c.since != 0
}

// connectFailed: the connect was refused, timed out or was given up, and the
// descriptor is still open. An AF_UNIX socket doesn't leave CLOSE for that, so
// its state doesn't tell when.
func connectFailed(s subject) (condition, bool) {
	if s.Sock.State != event.StateClose || !begun(s) || established(s) {
		return condition{}, false
	}
	return condition{class: ConnectFailed, since: s.InState(), vague: !s.Sock.IsTCP()}, s.InState() != 0
}

// dead: the connection was there and is gone, by reset, time-out, or because
// both sides finished; the descriptor is still open. Or it was a listener.
func dead(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || s.Sock.State != event.StateClose || !established(s) && !portless(s) {
		return condition{}, false
	}
	return condition{class: Dead, since: s.InState()}, s.InState() != 0
}

// portless: a listener that was shut down, and whose port the kernel took back. One
// that was bound to a port by number keeps it (SOCK_BINDPORT_LOCK in
// net/ipv4/tcp.c: tcp_set_state), and can listen there again: so do servers pause.
func portless(s subject) bool {
	return s.Listened && s.knows(event.KnownBound) && !s.Facts.Bound
}

// peerClosed: CLOSE-WAIT. A program that still sends is using its right to
// finish (RFC 9293, 3.6: half-closed connections).
func peerClosed(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || s.Sock.State != event.StateCloseWait || stillSending(s) {
		return condition{}, false
	}
	return condition{class: PeerClosed, since: s.InState()}, s.InState() != 0
}

// peerGone: the same for AF_UNIX, where the state doesn't tell.
func peerGone(s subject) (condition, bool) {
	if s.Sock.Family != afUnix || !s.knows(event.KnownPeer) || !s.Facts.PeerGone || marker(s) || s.ended {
		return condition{}, false
	}
	return condition{class: PeerClosed, since: s.Birth, vague: true}, true
}

// inherited: who created it has let go of it, and what holds it is another
// program that got it by fork and kept it across exec. When the creator let go
// isn't known.
func inherited(s subject) (condition, bool) {
	if s.Birth == 0 || forChild(s) || awaited(s) || len(s.holders) == 0 {
		return condition{}, false
	}
	since := uint64(0)
	for _, h := range s.holders {
		if h.Process == s.Creator || h.Via != lifecycle.ViaFork || worker(h) || handedOver(h) {
			return condition{}, false
		}
		since = max(since, h.Since)
	}
	return condition{class: Inherited, since: since, vague: true, mark: s.Facts.BytesIn + s.Facts.BytesOut}, since != 0
}
