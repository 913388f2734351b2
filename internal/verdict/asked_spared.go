package verdict

import (
	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// Of a socket whose handle's stack was left out, to stay within the budget, only the
// call is known that made the handle, as in calls.go: while all sockets of that call
// of which more is known were asked for in one place, so was this one, and the report
// says that this is inferred. If they were asked for in several it is counted where
// it was made, and the report says why no more is known.

// AskCalled notes that a call, zero if it isn't known, asked for a socket at a place.
func (j *Judge) AskCalled(p event.ProcessKey, call, place uint64) { j.askCalls.note(p, call, place) }

// AskSpared notes that a socket that was made on a stack was asked for by a call of
// which no stack was taken.
func (j *Judge) AskSpared(p event.ProcessKey, made, call uint64) {
	if made == 0 {
		return
	}
	parts := j.askSpared[p]
	if parts == nil {
		parts = map[division]uint64{}
		j.askSpared[p] = parts
	}
	if d := (division{made, call}); parts[d] > 0 || len(parts) < maxOrigins {
		parts[d]++
	}
}

// askedBy is the place where all was asked for that a call asked for, as far as is
// known; false if that is none or several.
func (j *Judge) askedBy(p event.ProcessKey, call uint64) (place uint64, ok bool) {
	place = j.askCalls.best(p, call)
	return place, place != call
}

// askedByCall counts what belongs to an origin by the call that asked alone, less
// what was made there and belongs to others: openedAt counts it where it was made.
func (j *Judge) askedByCall(key originKey) (more, less uint64) {
	for part, n := range j.askSpared[key.process] {
		place, ok := j.askedBy(key.process, part.by)
		if !ok {
			continue
		}
		from, _ := j.origins.of(key.process, j.askedOn(key.process, part.stack))
		to, _ := j.origins.of(key.process, place)
		switch {
		case from == to:
		case to == key.stack:
			more += n
		case from == key.stack:
			less += n
		}
	}
	return more, less
}

// sparedAsk is what is said of sockets of which the stack where they were asked for
// was left out.
func (j *Judge) sparedAsk(l *lines, g *group) {
	k := count(g, func(m *member) bool { return m.AskVia == lifecycle.ByLibuvSpared })
	if k == 0 {
		return
	}
	then := ""
	if j.asks(g.key.process, g.members) {
		then = "; the line is that of others asked for by the same call, made on the same stack, or of the same class and peer"
	}
	l.add("%s: the stack where the program asked for %s was left out by --stack-rate%s", some(k, len(g.members)), either(k, "it", "them"), then)
}
