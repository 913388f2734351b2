package verdict

import (
	"maps"
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
)

// A socket can be asked for in one place and made in another. The two are never
// mixed: sockets are grouped by the first, and the report shows both.

// requested says where the sockets of a group were asked for, nil if it is not
// known.
func (j *Judge) requested(g *group, names Names) *Requested {
	i := slices.IndexFunc(g.members, func(m member) bool { return j.known(g.key.process, &m) })
	if i < 0 {
		return j.sparedRequest(g)
	}
	m := &g.members[i]
	id := j.stackOf(g.key.process, &m.Socket)
	if m.AskVia == lifecycle.ByGo {
		id = m.AskStack
	}
	o := names.Origin(g.key.process, id)
	r := &Requested{
		Via: via(m.AskVia), Quality: o.Quality, Reason: o.Reason, Frames: o.Frames,
		Inferred: slices.ContainsFunc(g.members, inferredAsk),
		Culprit:  culprit(o.Frames, g.key.process, names),
	}
	if r.Frames == nil {
		r.Frames = []stack.Frame{}
	}
	return r
}

// inferredAsk reports whether of a member itself it is not known where it was asked
// for.
func inferredAsk(m member) bool {
	return m.AskVia == lifecycle.NotAsked || m.AskVia == lifecycle.ByLibuvSpared
}

// sparedRequest says of a group of which it is not known where it was asked for that
// this is for the budget, nil if it isn't.
func (j *Judge) sparedRequest(g *group) *Requested {
	if count(g, func(m *member) bool { return m.AskVia == lifecycle.ByLibuvSpared }) == 0 {
		return nil
	}
	return &Requested{Via: ViaLibuv, Quality: stack.None, Reason: event.LackSpared.String(), Frames: []stack.Frame{}}
}

func via(a lifecycle.Asking) Via {
	if a == lifecycle.ByGo {
		return ViaGo
	}
	return ViaLibuv
}

// known reports whether it is known where a member was asked for, by itself or by
// others that were made on the same stack or asked for by the same call.
func (j *Judge) known(p event.ProcessKey, m *member) bool {
	switch m.AskVia {
	case lifecycle.ByLibuv, lifecycle.ByGo:
		return true
	case lifecycle.ByLibuvSpared:
		if _, ok := j.askedBy(p, m.AskStack); ok {
			return true
		}
	}
	return m.Stack != 0 && j.askedOn(p, m.Stack) != j.bestStack(p, m.Stack)
}

// asks reports whether it is known of sockets of a group which code asked the event
// loop for them.
func (j *Judge) asks(p event.ProcessKey, members []member) bool {
	for i := range members {
		if m := &members[i]; m.AskVia != lifecycle.ByGo && j.known(p, m) {
			return true
		}
	}
	return false
}

// madeOn is the stack that most of a group were made on. Those whose own was left
// out count only if there are no others.
func (j *Judge) madeOn(g *group) uint64 {
	counts := map[uint64]int{}
	for i := range g.members {
		m := &g.members[i]
		if m.AskVia == lifecycle.ByGo || m.Stack == 0 || !j.known(g.key.process, m) {
			continue
		}
		id := j.bestStack(g.key.process, m.Stack)
		if n := counts[id]; m.Lack == event.LackSpared {
			counts[id] = n
		} else {
			counts[id] = n + 1
		}
	}
	most, best := g.key.stack, -1
	for id, n := range counts {
		if n > best || n == best && id < most {
			most, best = id, n
		}
	}
	return most
}

// divide tells origins apart that have one stack: accepted sockets by what they
// were accepted on, those of Go by who started the goroutine. Zero: not divided.
func divide(s *lifecycle.Socket) uint64 {
	switch {
	case s.AskVia == lifecycle.ByGo:
		return s.AskStack
	case s.Kind == lifecycle.ByAccept:
		return listenerOf(&s.Sock, s.Other)
	}
	return 0
}

// listenerOf is a number for what a socket was accepted on: the port, because
// there can be a listener for each thread, or where there is none the listener.
func listenerOf(s *event.Sock, listener uint64) uint64 {
	if port := s.Local.Port(); port != 0 {
		return uint64(port)
	}
	return listener
}

// Asked notes that a socket that was made on one stack was asked for on another.
func (j *Judge) Asked(p event.ProcessKey, made, asked uint64) {
	if j.standing[p] == nil {
		j.standing[p] = map[uint64]standing{}
	}
	j.moved(p, made, asked)
}

// enoughWitnesses is how many sockets show, however many it is concluded for, who asked
// for what was made on a stack.
const enoughWitnesses = 8

// standing counts those of the sockets made on a stack that stay open, by whether it is
// known who asked for them.
type standing struct{ asked, unasked int }

// shows reports whether those of which it is known are enough to conclude from.
func (s standing) shows() bool { return s.asked >= min(s.unasked, enoughWitnesses) }

// witness notes where those that stay open were asked for, also until their process
// ended: if all of a stack were in one place, so were those too of which it isn't
// known. What comes and goes tells nothing of what stays. Of a process that has none
// the last counts remain.
func (j *Judge) witness(now uint64, t *lifecycle.Table) {
	if len(j.standing) == 0 {
		return // it is not looked for, and there may be very many sockets
	}
	counts := map[event.ProcessKey]map[uint64]standing{}
	add := func(s *lifecycle.Socket, stays bool) {
		p := s.Creator
		if s.Stack == 0 || j.standing[p] == nil {
			return
		}
		made := j.bestStack(p, s.Stack)
		of := counts[p]
		if of == nil {
			of = map[uint64]standing{}
			counts[p] = of
		}
		n := of[made]
		switch {
		case s.AskVia == lifecycle.NotAsked:
			n.unasked++
		case s.AskVia == lifecycle.ByLibuv && stays:
			n.asked++
			j.asked.note(p, made, s.AskStack)
		}
		of[made] = n
	}
	for s := range t.Sockets() {
		add(s, now >= s.Birth+j.minAge)
	}
	for i := range j.ended {
		add(&j.ended[i].Socket, true)
	}
	maps.Copy(j.standing, counts)
}

// Started notes that a socket was made in a goroutine that was started by the go
// statement by.
func (j *Judge) Started(p event.ProcessKey, made, by uint64) {
	if made != 0 {
		j.countDivided(p, division{made, by})
	}
}

// division is a part of what was made on a stack, see divide.
type division struct{ stack, by uint64 }

func (j *Judge) countDivided(p event.ProcessKey, d division) {
	parts := j.divided[p]
	if parts == nil {
		parts = map[division]uint64{}
		j.divided[p] = parts
	}
	if parts[d] > 0 || len(parts) < maxOrigins {
		parts[d]++
	}
}

// dividedAt is openedAt for an origin that is divided further.
func (j *Judge) dividedAt(key originKey) uint64 {
	n := uint64(0)
	for part, count := range j.divided[key.process] {
		if part.by != key.by {
			continue
		}
		id := j.bestStack(key.process, part.stack)
		if standIn, _ := j.origins.of(key.process, id); standIn == key.stack {
			n += count
		}
	}
	return n
}

// acceptedFrom says what the sockets of a group were accepted on, nil if they
// were not accepted.
func (j *Judge) acceptedFrom(t *lifecycle.Table, g *group, names Names) *Accepted {
	listener := listenerAmong(t, g)
	if listener == nil {
		return nil
	}
	a := &Accepted{}
	if listener.Sock.Local.IsValid() {
		a.Address = pointer(listener.Sock.Local.String())
	}
	p, id := listener.Creator, j.bestStack(listener.Creator, listener.Stack)
	if listener.AskVia == lifecycle.ByLibuv {
		id, a.Via = listener.AskStack, pointer(ViaLibuv)
	}
	if id == 0 {
		a.Quality, a.Reason = stack.None, "the listener's creation was not seen: no stack"
		a.Frames = []stack.Frame{}
		return a
	}
	o := names.Origin(p, id)
	a.Quality, a.Reason, a.Frames = o.Quality, o.Reason, o.Frames
	if a.Frames == nil {
		a.Frames = []stack.Frame{}
	}
	a.Culprit = culprit(a.Frames, p, names)
	return a
}

// listenerAmong is the listener of most of a group, nil if none is there any
// more.
func listenerAmong(t *lifecycle.Table, g *group) *lifecycle.Socket {
	counts := map[uint64]int{}
	for i := range g.members {
		if m := &g.members[i]; m.Kind == lifecycle.ByAccept && m.Other != 0 {
			counts[m.Other]++
		}
	}
	var most *lifecycle.Socket
	for inode, n := range counts {
		s := t.Socket(inode)
		if s == nil {
			continue
		}
		if most == nil || n > counts[most.Inode] || n == counts[most.Inode] && inode < most.Inode {
			most = s
		}
	}
	return most
}
