package verdict

import (
	"slices"
	"time"

	"sockleak/internal/lifecycle"
	"sockleak/internal/words"
)

// Doubts is what the last look leaves open: what is no finding, and keeps the
// verdict from being that there is none.
type Doubts struct {
	// Suspects is how many sockets are in a condition that leaks have.
	Suspects int
	// Waiting is how many of them have been so for the grace time, where more is
	// due because somebody may wait for them; Patience is the longest of that.
	Waiting  int
	Patience time.Duration
	// Early is how many sockets origins have that only opened more since they were
	// first seen, which is not for long enough to call it growth.
	Early int
	// Rising is how many connections origins have whose connections only become
	// more, and which have not been silent for long enough.
	Rising int
	// Unseen is how many sockets are among such that only become more and whose
	// creation was not seen, so that their origins can't be told apart.
	Unseen int
	// Replaced is how many silent connections, accepted on Port, may have been
	// given up for the one that each of Peers addresses uses, or be a pool's.
	Replaced, Peers int
	Port            uint16
}

// Doubts says what the last look left open.
func (j *Judge) Doubts() Doubts {
	d := Doubts{
		Suspects: len(j.suspects),
		Replaced: j.maybeSuperseded.count, Peers: j.maybeSuperseded.peers, Port: j.maybeSuperseded.at.number,
	}
	for _, u := range j.suspects {
		if u.looks >= looksNeeded && u.last >= u.since+j.minAge && u.last < u.since+u.patience {
			d.Waiting++
			d.Patience = max(d.Patience, time.Duration(u.patience))
		}
	}
	for key, n := range j.others {
		if class, grows := j.growing(key); class == Abandoned && !grows {
			d.Rising += n.live
		}
		if j.early(key) {
			d.Early += n.live
		}
		if _, rises := j.rising(key); rises && key.arrival == lifecycle.Received {
			d.Unseen += n.live
		}
	}
	return d
}

// early reports whether an origin only opened more since it was first seen. Accepted
// connections that the server waits on don't count: their number is the clients'
// affair.
func (j *Judge) early(key groupKey) bool {
	s, n := j.groups[key], j.others[key]
	return s != nil && s.span() < growthTime(time.Duration(j.minAge)) && n.live-n.attended >= growthCount && s.onlyMore()
}

// onlyMore is what rises means for a time that is too short for it: the count never
// fell, and rose in both halves of the time. A pool that was filled stands still.
func (s *series) onlyMore() bool {
	last := len(s.counts) - 1
	middle := s.counts[last/2]
	return slices.IsSorted(s.counts) && s.counts[last]-s.counts[0] >= growthCount && s.counts[last] > middle && middle > s.counts[0]
}

// conclude adds the first of the doubts that are grave enough for a reason. What
// was given its time, and came and went, is none.
func (d Doubts) conclude(r *Report, add func(string, ...any)) bool {
	watched := time.Duration(r.Duration * float64(time.Second))
	minAge, idle := time.Duration(r.MinAge*float64(time.Second)), time.Duration(r.Idle*float64(time.Second))
	switch {
	case d.Waiting >= remarkable && watched < d.Patience+2*minAge:
		add("%s are in a condition that leaks have, and something may be waiting for them yet: it takes %s to tell; trace longer",
			words.Counted(d.Waiting, "socket", "sockets"), words.Duration(d.Patience))
	case d.Rising > 0 && watched < idle+growthTime(minAge):
		add("the %s only become more: whether they are abandoned shows when they are idle for %s (--idle); trace longer",
			words.Counted(d.Rising, "connection of an origin", "connections of an origin"), words.Duration(idle))
	// Where there was time enough, what began late is no reason to doubt.
	case d.Early > 0 && watched < 2*growthTime(minAge):
		add("the %s only became more so far: whether they go on to takes %s to tell; trace longer",
			words.Counted(d.Early, "socket of an origin", "sockets of an origin"), words.Duration(growthTime(minAge)))
	case d.Replaced > 0:
		add("%s accepted on port %d are silent, while each of %s uses one: either clients came back and their old connections were kept, or it is a pool; trace while clients come back to tell",
			words.Counted(d.Replaced, "connection", "connections"), d.Port, words.Counted(d.Peers, "peer", "peers"))
	case d.Unseen > 0:
		add("%s only become more, and whether one origin leaks them can't be told: their creation was not seen (passed by SCM_RIGHTS or pidfd_getfd, made by io_uring, or the event was lost)",
			words.Counted(d.Unseen, "socket", "sockets"))
	default:
		return false
	}
	return true
}
