package verdict

import "sockleak/internal/event"

// severalBetter stands in better for a stack that the better tier tells several
// of: an interpreter's, say, which is the same for every line of the program.
const severalBetter = 0

// Better notes that the stack of a socket was exchanged for another of the same
// call, that tells more. Sockets that have only the first belong to the same
// origin, unless the first turns out to stand for several.
func (j *Judge) Better(p event.ProcessKey, lesser, better uint64) {
	if lesser == 0 || better == 0 || lesser == better {
		return
	}
	stacks := j.better[p]
	if stacks == nil {
		stacks = map[uint64]uint64{}
		j.better[p] = stacks
	}
	if known, ok := stacks[lesser]; !ok {
		stacks[lesser] = better
	} else if known != better {
		stacks[lesser] = severalBetter
	}
	if opened := j.opened[p]; opened[lesser] > 0 {
		opened[lesser]--
		opened[better]++
	}
}

// openedAt is how many sockets were made at an origin since tracing began.
func (j *Judge) openedAt(key originKey) uint64 {
	n := j.opened[key.process][key.stack]
	for lesser, better := range j.better[key.process] {
		if better == key.stack {
			n += j.opened[key.process][lesser]
		}
	}
	for id, standIn := range j.origins.standIn[key.process] {
		if standIn == key.stack && id != key.stack {
			n += j.opened[key.process][id]
		}
	}
	return n
}

// bestStack is the stack that a socket is grouped by.
func (j *Judge) bestStack(p event.ProcessKey, id uint64) uint64 {
	if better := j.better[p][id]; better != severalBetter {
		return better
	}
	return id
}
