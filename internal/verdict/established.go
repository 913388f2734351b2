package verdict

import (
	"time"

	"sockleak/internal/event"
)

// DefaultIdle is the silence after which an established connection may be
// suspected: longer than the 90 s for which HTTP clients keep idle connections
// (Go's http.DefaultTransport).
const DefaultIdle = 100 * time.Second

const (
	// retransmitted is how many times in a row data must have been sent again
	// in vain before the peer may be gone: R1 of RFC 9293, 3.8.3.
	retransmitted = 3
	// probed is how many probes in a row must have been unanswered.
	probed = 2
)

// The retransmission timer doubles from TCP_RTO_MIN to TCP_RTO_MAX
// (include/net/tcp.h), in ns.
const (
	rtoMin = uint64(200 * time.Millisecond)
	rtoMax = uint64(120 * time.Second)
)

// silence is how long no data came or went, in ns.
func silence(s subject) uint64 { return min(s.Facts.LastRx, s.Facts.LastTx) }

// quietSince is when data last came or went.
func quietSince(s subject) uint64 { return s.Seen - min(s.Seen, silence(s)) }

// halfClosed: this side sent its FIN, and the peer took it and doesn't finish
// (FIN-WAIT-2). Once the descriptor is closed too the kernel ends that by itself
// (tcp(7), tcp_fin_timeout); while it is open, never. A program that waits for the
// rest of an answer is using its right (RFC 9293, 3.6), and is given longer.
func halfClosed(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || s.Sock.State != event.StateFinWait2 || s.ended {
		return condition{}, false
	}
	c := condition{class: HalfClosed, since: s.InState()}
	if s.knows(event.KnownActivity) {
		c.since = max(c.since, s.Seen-min(s.Seen, s.Facts.LastRx))
	}
	// The peer can't finish while what it sent isn't read.
	reading := s.knows(event.KnownQueues) && s.Facts.RecvQ > 0
	if !s.knows(event.KnownWaiters) || s.Facts.Waiters || reading {
		c.patience, c.innocent, c.mark = s.idle, true, taken(s)
	}
	return c, c.since != 0
}

// taken is how many bytes the program has read: what came, and isn't unread.
func taken(s subject) uint64 { return s.Facts.BytesIn - min(s.Facts.BytesIn, uint64(s.Facts.RecvQ)) }

// halfOpen: what was sent, or a probe, is not acknowledged, again and again
// (RFC 9293, 3.5.1: half-open connections). How long that has been so follows
// from how often the timer ran out.
func halfOpen(s subject) (condition, bool) {
	if !s.Sock.IsTCP() || !s.knows(event.KnownDelivery) || s.ended {
		return condition{}, false
	}
	switch s.Sock.State {
	case event.StateEstablished, event.StateCloseWait, event.StateFinWait1, event.StateClosing, event.StateLastAck:
	default:
		return condition{}, false
	}
	c := condition{class: HalfOpen, patience: s.idle, innocent: true, mark: s.Facts.BytesOut - min(s.Facts.BytesOut, uint64(s.Facts.Unacked))}
	switch {
	case s.Facts.Retransmits >= retransmitted:
		c.since = s.Seen - min(s.Seen, backedOff(s.Facts.Retransmits))
	case s.Facts.Probes >= probed:
		c.since = s.Seen
	default:
		return condition{}, false
	}
	c.atLeast = true
	return c, true
}

// backedOff is the least time, in ns, in which the retransmission timer runs out
// n times in a row.
func backedOff(n uint8) uint64 {
	var sum uint64
	for rto := rtoMin; n > 0; n-- {
		sum += rto
		rto = min(2*rto, rtoMax)
	}
	return sum
}

// unread: data came that nobody reads, and nothing came or went since. One that
// reads slowly takes some away between two looks; one that only writes has no use
// for what comes, as the tickets of TLS 1.3, and has written since.
func unread(s subject) (condition, bool) {
	const facts = event.KnownQueues | event.KnownActivity | event.KnownBytes
	if !s.Sock.IsTCP() || s.Sock.State != event.StateEstablished || !s.knows(facts) || s.ended {
		return condition{}, false
	}
	if s.Facts.RecvQ == 0 || silence(s) < s.minAge || s.Facts.LastTx < s.Facts.LastRx {
		return condition{}, false
	}
	return condition{class: Abandoned, since: quietSince(s), patience: s.idle, mark: taken(s)}, true
}
