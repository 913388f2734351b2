package verdict

import "time"

// Outlook is what the last look leaves open, for Conclude.
type Outlook struct {
	Suspects int // what Look returned
	// Rising: sockets of origins that only open more.
	Rising Rising
	// Ended: every process in scope has ended, so that there is nothing left to
	// wait for.
	Ended bool
}

// Rising counts the sockets of origins that only open more and that no rule accuses, by
// why none does.
type Rising struct {
	Early    int // growth takes longer to tell
	Used     int // connections that were not silent for the idle time
	Nameless int // their origin is not known, so that they may be of several
}

// Rising counts them as the last look saw them. Accepted connections that the server
// waits on are left out: their number is the clients' affair.
func (j *Judge) Rising() Rising {
	var r Rising
	for key, n := range j.others {
		s := j.groups[key]
		if s == nil || n.live-n.attended < growthCount {
			continue
		}
		if _, accused := j.growing(key); accused {
			continue
		}
		switch early := s.span() < growthTime(time.Duration(j.minAge)); {
		case early && s.onlyMore():
			r.Early += n.live
		case early || !s.rises(growthCount) || 2*n.silent < n.live:
		case key.stack == 0:
			r.Nameless += n.live
		default:
			r.Used += n.live
		}
	}
	return r
}

// onlyMore reports whether the count never fell and still rises: what rises means for a
// time that is too short for it. A pool that was filled stands still.
func (s *series) onlyMore() bool {
	for i := range s.counts[1:] {
		if s.counts[i+1] < s.counts[i] {
			return false
		}
	}
	last := len(s.counts) - 1
	return s.counts[last]-s.counts[0] >= growthCount && s.counts[last] > s.counts[last/2] && s.counts[last/2] > s.counts[0]
}
