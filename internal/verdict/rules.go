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
	// vague: since is only known not to be later. It counts from the look that
	// first saw it.
	vague bool
}

// subject is a socket as the rules see it.
type subject struct {
	*lifecycle.Socket
	now     uint64
	minAge  uint64
	holders []lifecycle.Holder
	// ended: the socket was open when its last process ended, so that no
	// snapshot can be asked any more.
	ended bool
}

func (s subject) knows(set event.FactSet) bool { return s.Facts.Known&set == set }

// rules are tried in this order; the first that applies names the class.
func rules() []func(subject) (condition, bool) {
	return []func(subject) (condition, bool){
		inherited, neverUsed, connectPending, connectFailed, dead, peerClosed,
	}
}

// judge returns the condition of a socket, if it is in one that no program wants.
func judge(s subject) (condition, bool) {
	if exempt(s) {
		return condition{}, false
	}
	for _, rule := range rules() {
		if c, ok := rule(s); ok {
			return c, true
		}
	}
	return condition{}, false
}

// exempt: sockets that are complete without a connection. They can leak too, but
// only their number tells.
func exempt(s subject) bool {
	return !s.Sock.IsTCP() && (s.Sock.Family != afUnix || s.Sock.Type != sockStream && s.Sock.Type != sockSeqpacket)
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
	if s.Facts.Bound {
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
		c.patience = connectPatience
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
// both sides finished; the descriptor is still open.
func dead(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || s.Sock.State != event.StateClose || !established(s) {
		return condition{}, false
	}
	return condition{class: Dead, since: s.InState()}, s.InState() != 0
}

// peerClosed: CLOSE-WAIT. A program that still sends is using its right to
// finish (RFC 9293, 3.6: half-closed connections).
func peerClosed(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || s.Sock.State != event.StateCloseWait || stillSending(s) {
		return condition{}, false
	}
	return condition{class: PeerClosed, since: s.InState()}, s.InState() != 0
}

func stillSending(s subject) bool {
	if s.knows(event.KnownQueues) && s.Facts.SendQ > 0 {
		return true
	}
	return s.knows(event.KnownActivity) && s.Facts.LastTx < s.minAge && s.Facts.BytesOut > 0 && !s.ended &&
		s.Facts.LastTx < s.now-min(s.now, s.InState())
}

// inherited: who created it has let go of it, and what holds it is another
// program that got it by fork and kept it across exec. A server's forked worker
// has not exec'd; what inetd starts gets it as descriptor 0 to 2; half of a pair
// is made to be handed to a child. When the creator let go isn't known.
func inherited(s subject) (condition, bool) {
	if s.Birth == 0 || s.Kind == lifecycle.ByPair || len(s.holders) == 0 {
		return condition{}, false
	}
	if s.Facts.Waiters || !s.knows(event.KnownWaiters) {
		return condition{}, false
	}
	since := uint64(0)
	for _, h := range s.holders {
		if h.Process == s.Creator || h.Via != lifecycle.ViaFork || !h.SurvivedExec || h.FD <= 2 {
			return condition{}, false
		}
		since = max(since, h.Since)
	}
	return condition{class: Inherited, since: since, vague: true}, since != 0
}

// moved reports whether data came or went since the time given, in ns.
func moved(s subject, since uint64) bool {
	return s.knows(event.KnownActivity) && min(s.Facts.LastRx, s.Facts.LastTx) < s.now-min(s.now, since)
}
