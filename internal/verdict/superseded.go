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
// unusual: a browser, a pool, many clients behind one address. What tells is
// that they were used one after the other, and that it is so for most peers.

const (
	// sequel bounds how long an old connection may go on beside the next, ns.
	sequel = uint64(time.Second)
	// alone is how many superseded connections of one peer speak for
	// themselves; with fewer it takes several peers.
	aloneEnough = 3
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
	busy  bool   // data moves, and not only that of its beginning
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
		c.add(links)
	}
	for _, c := range ports {
		for _, l := range c.verdict() {
			j.superseded[l.name] = l.moved
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
	return link{name: n, moved: moved, busy: silent < j.idle && moved >= k.first+j.minAge, quiet: silent >= j.idle}
}

// crossing is the peers with several connections on one port.
type crossing struct {
	several    int // that have a silent one
	sequential [][]link
}

// add notes one peer's connections.
func (c *crossing) add(links []link) {
	quiet := slices.DeleteFunc(slices.Clone(links), func(l link) bool { return !l.quiet })
	if len(quiet) == 0 {
		return
	}
	c.several++
	if inSequence(links) {
		c.sequential = append(c.sequential, quiet)
	}
}

// inSequence reports whether one connection is in use, and each before it fell
// silent when the next began.
func inSequence(links []link) bool {
	// Those from before tracing began, whose birth isn't known, come first.
	slices.SortFunc(links, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.birth, b.birth), cmp.Compare(a.moved, b.moved))
	})
	for i, l := range links[:len(links)-1] {
		// Of two from before, one at most may have been in use lately.
		if next := links[i+1]; next.birth != 0 && l.moved > next.birth+sequel || next.birth == 0 && !l.quiet {
			return false
		}
	}
	return !links[len(links)-1].quiet && slices.ContainsFunc(links, func(l link) bool { return l.busy })
}

// verdict returns the connections that were superseded.
func (c *crossing) verdict() []link {
	if 3*len(c.sequential) < 2*c.several {
		return nil
	}
	all := slices.Concat(c.sequential...)
	if len(c.sequential) >= peersEnough || len(all) >= aloneEnough && apart(all) {
		return all
	}
	return nil
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
