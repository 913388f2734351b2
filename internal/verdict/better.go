package verdict

import (
	"cmp"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// maxOrigins bounds the origins of a process whose creations are counted: where
// frame pointers lead astray, no two stacks are the same.
const maxOrigins = 1 << 16

// severalBetter stands in better for a stack that the better tier tells several
// of: an interpreter's, say, which is the same for every line of the program.
const severalBetter = 0

// Better notes that the stack of a socket was exchanged for another of the same
// call, that tells more. Sockets that have only the first belong to the same
// origin, unless the first turns out to stand for several; and so do those of
// which only the call is known, zero if it isn't.
func (j *Judge) Better(p event.ProcessKey, call, lesser, better uint64) {
	j.better.note(p, lesser, better)
	j.better.note(p, call, better)
	j.asked.note(p, better, j.asked[p][lesser])
	j.moved(p, lesser, better)
}

// moved counts a creation at another stack than where it was noted.
func (j *Judge) moved(p event.ProcessKey, from, to uint64) {
	if opened := j.opened[p]; opened[from] > 0 && from != to {
		opened[from]--
		opened[to]++
	}
}

// openedAt is how many sockets were made at an origin since tracing began.
func (j *Judge) openedAt(key originKey) uint64 {
	if key.by != 0 {
		return j.dividedAt(key)
	}
	n := j.opened[key.process][key.stack]
	for id, opened := range j.opened[key.process] {
		if id != key.stack && j.askedOn(key.process, id) == key.stack {
			n += opened
		}
	}
	for id, standIn := range j.origins.standIn[key.process] {
		if standIn == key.stack && id != key.stack {
			n += j.opened[key.process][id]
		}
	}
	more, less := j.askedByCall(key)
	return n + more - min(less, n+more)
}

// stackOf is the stack that a socket is grouped by: where it was asked for, if
// that is known, else where it was made.
func (j *Judge) stackOf(p event.ProcessKey, s *lifecycle.Socket) uint64 {
	switch s.AskVia {
	case lifecycle.ByLibuv:
		return s.AskStack
	case lifecycle.ByLibuvSpared:
		if place, ok := j.askedBy(p, s.AskStack); ok {
			return place
		}
	}
	return j.askedOn(p, s.Stack)
}

// askedOn is the stack where all that was made on a stack was asked for, as far as
// is known; else the best of where it was made.
func (j *Judge) askedOn(p event.ProcessKey, made uint64) uint64 {
	best := j.bestStack(p, made)
	if !j.standing[p][best].shows() {
		return best
	}
	return j.asked.best(p, best)
}

// bestStack is the best stack of the call that made a socket.
func (j *Judge) bestStack(p event.ProcessKey, id uint64) uint64 {
	return bestOf(j.better, j.calls, p, id)
}

// bestOf is the best stack for a stack or a call, by what was seen to stand for it.
func bestOf(better, calls relations, p event.ProcessKey, id uint64) uint64 {
	if _, known := better[p][id]; !known {
		id = cmp.Or(calls[p][id], id)
	}
	return better.best(p, id)
}
