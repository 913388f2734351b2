package verdict

import (
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// growth needs this many more sockets, over this long, to be called a leak.
const (
	growthCount = 3
	growthSpan  = 20 * time.Second
)

// growthTime is how long an origin must be watched for its growth to be judged.
func growthTime(minAge time.Duration) time.Duration { return max(growthSpan, 4*minAge) }

// add counts a socket.
func (n *tally) add(j *Judge, s subject) {
	n.live++
	process := owner(s.Socket, s.holders)
	n.label = j.labelOf(s.Socket, process)
	n.quiet.add(j.quietOne(s))
	established := s.Sock.IsTCP() && s.Sock.State == event.StateEstablished
	if established {
		n.established++
	}
	if !j.silent(s.Socket) || attended(s.Socket, n.label.accepted) {
		return
	}
	n.silent++
	if established && s.knows(event.KnownActivity) && silence(s) >= j.idle {
		n.idle++
	}
}

// scatter notes the processes with silent sockets that are for the same and have
// several stacks. Code that is compiled while it runs gets a new stack each time,
// so that no single one of them grows for long: whether they are one origin tell
// their names alone.
func (j *Judge) scatter() {
	type use struct {
		process event.ProcessKey
		label   label
	}
	type spread struct{ stacks, silent int }
	uses := map[use]spread{}
	for key, n := range j.others {
		if key.stack == 0 || n.silent == 0 {
			continue
		}
		u := use{key.process, n.label}
		uses[u] = spread{uses[u].stacks + 1, uses[u].silent + n.silent}
	}
	clear(j.scattered)
	for u, s := range uses {
		if s.stacks > 1 && s.silent >= growthCount {
			j.scattered[u.process] = true
		}
	}
}

// growing reports whether an origin's sockets only become more, those that no
// other rule accuses, and which class that makes them.
func (j *Judge) growing(key groupKey) (Class, bool) {
	s, n := j.groups[key], j.others[key]
	if s == nil || s.span() < growthTime(time.Duration(j.minAge)) || !s.rises(growthCount) {
		return "", false
	}
	// How many it closes says nothing: a path that forgets may be a rare one.
	if key.stack == 0 {
		return "", false
	}
	// The old ones are not in use: a busy server takes on more work.
	if 2*n.silent < n.live || n.silent < growthCount {
		return "", false
	}
	if 2*n.established <= n.live {
		return Growing, true
	}
	// A pool that warms up, or a client that talks to ever more servers, grows
	// too, for as long as it keeps idle connections.
	return Abandoned, n.idle+j.idleBefore(key.process, n.label) >= growthCount
}

// idleBefore counts the idle connections of a process that were there before
// tracing began and are for the same as those with the label.
func (j *Judge) idleBefore(p event.ProcessKey, l label) int {
	sum := 0
	for key, n := range j.others {
		if key.process == p && key.stack == 0 && key.label.fits(l) {
			sum += n.idle
		}
	}
	return sum
}

// silent: no data came or went for the grace time. Where the kernel can't tell,
// as for datagrams, it counts as silent: then the number alone speaks.
func (j *Judge) silent(s *lifecycle.Socket) bool {
	if s.Facts.Known&event.KnownActivity == 0 {
		return s.Birth+j.minAge <= j.looked
	}
	return min(s.Facts.LastRx, s.Facts.LastTx) >= j.minAge
}

// growth is what nothing speaks against but the growth of an origin.
type growth struct {
	// members are those of the groups that grow, each in the class of its own.
	members map[groupKey][]member
	// before are the silent sockets without a stack of the same processes. They
	// may be of an origin that grows; which one, and so the class, isn't known yet.
	before map[groupKey][]member
}

// grown returns what grows.
func (j *Judge) grown(t *lifecycle.Table) growth {
	found := growth{members: map[groupKey][]member{}, before: map[groupKey][]member{}}
	classes := map[groupKey]Class{}
	processes := map[event.ProcessKey]bool{}
	for key := range j.others {
		if class, ok := j.growing(key); ok {
			classes[key] = class
			processes[key.process] = true
		}
	}
	if len(classes) == 0 {
		return found
	}
	for s, holders := range t.Sockets() {
		key := j.groupOf(s, holders, "")
		class, grows := classes[key]
		before := key.stack == 0 && processes[key.process] && j.silent(s) && s.Sock.State != event.StateListen
		if !grows && !before {
			continue
		}
		if _, accused := j.judge(j.subject(j.looked, s, holders)); accused {
			continue
		}
		into := found.before
		if grows {
			into = found.members
		}
		into[key] = append(into[key], newMember(s, holders, condition{class: class, since: s.Birth, grown: true}))
	}
	return found
}
