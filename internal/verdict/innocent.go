package verdict

import (
	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// What acquits a socket that a rule would accuse. Each predicate has its reason.

// exempt: sockets that are complete without a connection. They can leak too, but
// only their number tells.
func exempt(s subject) bool {
	return !s.Sock.IsTCP() && (s.Sock.Family != afUnix || s.Sock.Type != sockStream && s.Sock.Type != sockSeqpacket)
}

// stillSending: the peer has finished, and this side uses its right to finish too
// (RFC 9293, 3.6: half-closed connections).
func stillSending(s subject) bool {
	if s.knows(event.KnownQueues) && s.Facts.SendQ > 0 {
		return true
	}
	return s.knows(event.KnownActivity) && s.Facts.LastTx < s.minAge && s.Facts.BytesOut > 0 && !s.ended &&
		s.Facts.LastTx < s.now-min(s.now, s.InState())
}

// marker: half of a socketpair whose other half was closed. The JVM keeps one for
// its life, to put it in place of descriptors that it closes while another thread
// may still use them; a prefork master has one for each worker that ended. Of a
// socket from before it isn't known whether it is such a half if neither side has
// a name.
func marker(s subject) bool {
	return s.Kind == lifecycle.ByPair ||
		s.Kind == lifecycle.ByUnknown && !s.Facts.Bound && s.Facts.UnixNames().Remote == ""
}

// forChild: half of a socketpair, which is made to be handed to a child. A prefork
// master has such a channel to each worker, and every worker inherits those of its
// siblings; all are silent until the master has something to say.
func forChild(s subject) bool { return s.Kind == lifecycle.ByPair }

// awaited: somebody waits on it, or the kernel can't tell. A shared listener is used
// by waiting, by the one whose turn it is for all that hold it; and who serves a
// socket that was handed over on purpose waits on it.
func awaited(s subject) bool { return s.Facts.Waiters || !s.knows(event.KnownWaiters) }

// worker: a process that runs the program of its parent, as the workers of a prefork
// server do, has the listeners and connections of that for the same purpose.
func worker(h lifecycle.Holder) bool { return !h.SurvivedExec }

// handedOver: what is started by inetd or as a shell's child gets its connection
// as standard input, output or error, on purpose.
func handedOver(h lifecycle.Holder) bool { return h.FD <= 2 }

// attended: an accepted connection that the server waits on. It is the client's
// turn; how long a client may stay is for the program to say.
func attended(s *lifecycle.Socket, accepted bool) bool {
	return accepted && s.Facts.Known&event.KnownWaiters != 0 && s.Facts.Waiters
}
