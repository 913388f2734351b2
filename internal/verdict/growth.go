package verdict

import (
	"hash/maphash"
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

// service is what a process has sockets for.
type service struct {
	process event.ProcessKey
	label   label
}

// tally counts sockets that no rule accuses.
type tally struct {
	live, silent int
	attended     int // accepted, and the server waits on them
	// established are TCP's among them, idle those of these that are silent for
	// the time that makes them suspect.
	established, idle int
	// before is how many idle connections there are from before tracing began
	// that are for the same as silent ones of these; like is what those are for.
	before int
	like   map[label]bool
}

// add counts a socket of a group.
func (n *tally) add(j *Judge, key groupKey, s subject) {
	n.live++
	of := service{key.process, j.labelOf(s.Socket, key.process)}
	j.noteQuiet(of, s)
	if connected(s) {
		n.established++
	}
	if attended(s.Socket, of.label.accepted) {
		n.attended++
		return
	}
	if !j.silent(s.Socket) {
		return
	}
	n.silent++
	if j.idles(s) {
		n.idle++
	}
	if key.stack == 0 {
		return
	}
	j.scatter(of, key.stack)
	if before := j.idleBefore[of]; before > 0 && !n.like[of.label] {
		if n.like == nil {
			n.like = map[label]bool{}
		}
		n.like[of.label] = true
		n.before += before
	}
}

// connected: an established TCP connection.
func connected(s subject) bool { return s.Sock.IsTCP() && s.Sock.State == event.StateEstablished }

// idles reports whether a connection has been silent for as long as makes it
// suspect.
func (j *Judge) idles(s subject) bool {
	return connected(s) && s.knows(event.KnownActivity) && silence(s) >= j.idle
}

// noteBefore counts a connection that no rule accuses if it idles and was there
// before tracing began.
func (j *Judge) noteBefore(s subject) {
	if s.Arrival != lifecycle.Preexisting || !j.idles(s) {
		return
	}
	p := owner(s.Socket, s.holders)
	of := service{p, j.labelOf(s.Socket, p)}
	if !attended(s.Socket, of.label.accepted) {
		j.idleBefore[of]++
	}
}

// spread is silent sockets that are for the same.
type spread struct {
	stack   uint64 // of one of them
	several bool   // others have another
	silent  int32
}

// scatter notes the processes with silent sockets that are for the same and have
// several stacks. Code that is compiled while it runs gets a new stack each time,
// so that no single one of them grows for long: whether they are one origin tell
// their names alone. There can be as many services as sockets, so that they go by
// their hash: that of another would only have more stacks named.
func (j *Judge) scatter(of service, stack uint64) {
	id := maphash.Comparable(j.seed, of)
	s := j.spreads[id]
	s.several = s.several || s.silent > 0 && s.stack != stack
	s.stack = stack
	s.silent++
	j.spreads[id] = s
	if s.several && s.silent >= growthCount {
		j.scattered[of.process] = true
	}
}

// growing is rising for the sockets of an origin, or of which at least the creation
// was seen: those that come in other ways can be of many origins, and are what is
// found again after a loss.
func (j *Judge) growing(key groupKey) (Class, bool) {
	if key.stack == 0 && key.arrival != lifecycle.Created {
		return "", false
	}
	return j.rising(key)
}

// rising reports whether the sockets of a group only become more, those that no
// other rule accuses, and which class that makes them.
func (j *Judge) rising(key groupKey) (Class, bool) {
	s, n := j.groups[key], j.others[key]
	if s == nil || s.span() < growthTime(time.Duration(j.minAge)) || !s.rises(growthCount) {
		return "", false
	}
	// How many it closes says nothing: a path that forgets may be a rare one.
	//
	// The old ones are not in use: a busy server takes on more work.
	if 2*n.silent < n.live || n.silent < growthCount {
		return "", false
	}
	if 2*n.established <= n.live {
		return Growing, true
	}
	// A pool that warms up, or a client that talks to ever more servers, grows
	// too, for as long as it keeps idle connections.
	return Abandoned, n.idle+n.before >= growthCount
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
