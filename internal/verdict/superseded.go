package verdict

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// A device that lost its connection makes a new one; a server that waits for the
// end of the old one keeps both. One peer with several connections is nothing
// unusual: a browser, many clients behind one address, a pool that is larger than
// what it has to do and takes the connection that came back last. What tells is to
// have seen it: a connection that was in use fell silent when the next one began,
// again and again, and for most peers that have several.

const (
	// sequel bounds how long an old connection may go on beside the next, ns, and
	// how long the exchange at the beginning of one takes.
	sequel = uint64(time.Second)
	// seenEnough is how many connections must have been seen to be followed by
	// another, of several peers, or of one at different times.
	seenEnough  = 3
	peersEnough = 2
)

// lane is a peer's address as one listening port of a process sees it.
type lane struct {
	port
	peer netip.Addr
}

// link is a connection of a lane.
type link struct {
	name
	moved uint64 // when data last came or went, ns
	used  bool   // data was seen to move after that of its beginning
	busy  bool   // and does
	quiet bool   // silent for --idle
}

// supersede finds the connections that were given up for a newer one of the same
// peer.
func (j *Judge) supersede(now uint64, t *lifecycle.Table) {
	lanes := map[lane][]link{}
	for s, holders := range t.Sockets() {
		if s.Sock.State != event.StateEstablished || s.Facts.Known&event.KnownActivity == 0 || !s.Sock.Remote.IsValid() {
			continue
		}
		p := owner(s, holders)
		if !j.accepted(s, p) {
			continue
		}
		l := lane{port{p, s.Sock.Local.Port()}, s.Sock.Remote.Addr()}
		lanes[l] = append(lanes[l], j.link(now, s))
	}
	clear(j.superseded)
	j.maybeSuperseded = replaced{}
	ports := map[port]*crossing{}
	for l, links := range lanes {
		if len(links) < 2 {
			continue
		}
		c := ports[l.port]
		if c == nil {
			c = &crossing{}
			ports[l.port] = c
		}
		c.add(links, j.idle)
	}
	for at, c := range ports {
		silent, peers := c.sequential()
		switch {
		case len(silent) == 0:
		case c.convinces():
			for _, l := range silent {
				j.superseded[l.name] = l.moved
			}
		case peers >= peersEnough || len(silent) >= seenEnough && apart(silent):
			j.maybeSuperseded.add(at, len(silent), peers)
		}
	}
	for n, k := range j.met {
		if k.seen != now {
			delete(j.met, n)
		}
	}
}

// acquaintance is since when an accepted connection is known, and when that was
// last confirmed, in ns.
type acquaintance struct{ first, seen uint64 }

// link describes a connection at the time now.
func (j *Judge) link(now uint64, s *lifecycle.Socket) link {
	n := name{s.Inode, s.Birth}
	k := j.met[n]
	if k.first == 0 {
		k.first = now
		if s.Birth != 0 {
			k.first = s.Birth
		}
	}
	k.seen = now
	j.met[n] = k
	silent := silence(subject{Socket: s})
	moved := s.Seen - min(s.Seen, silent)
	used := moved > k.first+sequel
	return link{name: n, moved: moved, used: used, busy: used && silent < j.idle && moved >= k.first+j.minAge, quiet: silent >= j.idle}
}

// crossing is the peers with several connections on one port.
type crossing struct {
	several int // that have a silent one
	lines   []succession
}

// succession is a peer's connections that are, or may be, each in the place of the
// one before.
type succession struct {
	silent []link
	seen   []link // that were seen to fall silent when the next began
}

// add notes one peer's connections.
func (c *crossing) add(links []link, idle uint64) {
	silent := slices.DeleteFunc(slices.Clone(links), func(l link) bool { return !l.quiet })
	if len(silent) == 0 {
		return
	}
	c.several++
	if seen, ok := inSequence(links, idle); ok {
		c.lines = append(c.lines, succession{silent, seen})
	}
}

// inSequence reports whether one connection is in use, and each before it may have
// fallen silent when the next began; and it returns those that were seen to.
func inSequence(links []link, idle uint64) (seen []link, ok bool) {
	// Those from before tracing began, whose birth isn't known, come first.
	slices.SortFunc(links, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.birth, b.birth), cmp.Compare(a.moved, b.moved))
	})
	for i, l := range links[:len(links)-1] {
		next := links[i+1]
		switch {
		case next.birth == 0 && l.quiet: // nobody knows when the next began
		case next.birth == 0 || l.moved > next.birth+sequel:
			return nil, false
		case l.used && next.birth <= l.moved+idle:
			seen = append(seen, l)
		}
	}
	return seen, !links[len(links)-1].quiet && slices.ContainsFunc(links, func(l link) bool { return l.busy })
}

// sequential returns the silent connections of the peers whose connections follow
// one another, and the number of these peers; nothing if most peers that have
// several use them otherwise.
func (c *crossing) sequential() (silent []link, peers int) {
	if 3*len(c.lines) < 2*c.several {
		return nil, 0
	}
	for _, s := range c.lines {
		silent = append(silent, s.silent...)
	}
	return silent, len(c.lines)
}

// convinces reports whether enough connections were seen to be followed.
func (c *crossing) convinces() bool {
	var seen []link
	peers := 0
	for _, s := range c.lines {
		if len(s.seen) > 0 {
			peers++
		}
		seen = append(seen, s.seen...)
	}
	return len(seen) >= seenEnough && (peers >= peersEnough || apart(seen))
}

// replaced is silent connections that were all there before it could be seen
// whether others took their place, on the port that has most of them.
type replaced struct {
	at           port
	count, peers int
}

func (r *replaced) add(at port, count, peers int) {
	order := cmp.Or(cmp.Compare(count, r.count), cmp.Compare(r.at.process.PID, at.process.PID), cmp.Compare(r.at.number, at.number))
	if order > 0 {
		*r = replaced{at, count, peers}
	}
}

// apart reports whether connections fell silent at different times: those of a
// pool that was needed once fall silent together.
func apart(links []link) bool {
	times := make([]uint64, len(links))
	for i, l := range links {
		times[i] = l.moved
	}
	slices.Sort(times)
	for i := range times[1:] {
		if times[i+1]-times[i] < sequel {
			return false
		}
	}
	return true
}

// supersededBy is the rule: another connection of the same peer took this one's
// place.
func (j *Judge) supersededBy(s subject) (condition, bool) {
	since, ok := j.superseded[name{s.Inode, s.Birth}]
	if !ok || s.ended {
		return condition{}, false
	}
	return condition{class: Superseded, since: since, patience: s.idle, mark: s.Facts.BytesIn + s.Facts.BytesOut}, true
}
