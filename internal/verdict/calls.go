package verdict

import (
	"fmt"

	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/words"
)

// Of a socket whose stack was left out, to stay within the budget, only the call
// is known (event.Event.Call): less than a stack, and several origins may have the
// same. Those of its sockets that do have stacks tell: while all of them are of one
// origin, the others are taken to be of it too.

// maxCalls bounds what is kept of one process: in a call that puts something new
// where its return address is looked for each time, no two are the same.
const maxCalls = 1 << 13

// relations has, by process, what a stack or a call was seen to stand for;
// severalBetter: more than one thing.
type relations map[event.ProcessKey]map[uint64]uint64

// note notes that lesser stood for better once. What better itself stands for
// counts in its place: a stack may be exchanged twice.
func (r relations) note(p event.ProcessKey, lesser, better uint64) {
	if lesser == 0 || better == 0 || lesser == better {
		return
	}
	of := r[p]
	if of == nil {
		of = map[uint64]uint64{}
		r[p] = of
	}
	best := r.best(p, better)
	known, ok := of[lesser]
	switch {
	case !ok && len(of) < maxCalls:
		of[lesser] = best
	case ok && known != severalBetter && r.best(p, known) != best:
		of[lesser] = severalBetter
	}
}

// maxExchanges is how often a stack can be exchanged for a better one.
const maxExchanges = 3

// best is what a stack or a call stands for; itself if that isn't known, or more
// than one thing.
func (r relations) best(p event.ProcessKey, id uint64) uint64 {
	for range maxExchanges {
		better := r[p][id]
		if better == severalBetter {
			break
		}
		id = better
	}
	return id
}

// Called notes that a call was made on a stack.
func (j *Judge) Called(p event.ProcessKey, call, stack uint64) { j.calls.note(p, call, stack) }

// lacking is what is said of sockets whose own stack is lacking.
func (j *Judge) lacking(l *lines, g *group, names Names) {
	n := len(g.members)
	for _, lack := range []event.Lack{event.LackUnknown, event.LackLost, event.LackCrowded, event.LackSpared} {
		k := count(g, func(m *member) bool { return m.Lack == lack })
		if k == 0 {
			continue
		}
		then := ""
		switch named := count(g, func(m *member) bool { return m.Lack == lack && j.inferred(m, g, names) }); named {
		case 0:
		case k:
			then = "; the origin is that of others made by the same call"
		default:
			then = fmt.Sprintf("; the origin of %s of them is that of others made by the same call", words.Thousands(named))
		}
		l.add("%s: %s%s", some(k, n), lack, then)
	}
}

// inferred reports whether the origin of a member is that of others. One that has
// a complete stack was made there, even if it was exchanged for others.
func (j *Judge) inferred(m *member, g *group, names Names) bool {
	p := g.key.process
	return m.Stack != 0 && j.bestStack(p, m.Stack) != m.Stack && names.Origin(p, m.Stack).Quality != stack.Complete
}
