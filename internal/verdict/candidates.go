package verdict

import "slices"

// candidates finds the groups with a stack that sockets without one may be of, by
// those of their members that count. There can be as many groups without a stack as
// there are peers, so each is looked up and not compared with all.
type candidates struct {
	judge  *Judge
	among  map[groupKey][]member
	counts func(*member) bool
	by     map[aim][]groupKey // nil until the first is looked up
	asks   map[groupKey]bool  // of those that were looked up
}

func (j *Judge) candidates(among map[groupKey][]member, counts func(*member) bool) *candidates {
	return &candidates{judge: j, among: among, counts: counts, asks: map[groupKey]bool{}}
}

// aim is what sockets of a group are for, in the ways that label.fits compares it.
type aim struct {
	service
	class   Class
	anybody bool // whoever the peer is; label.peer is none
}

// of returns the groups that sockets of a group may be of. Where it is known of some
// who asked, those of which only the event loop's stack is known are none; and where
// some name a line, those are none whose stack lacks frames and names none: it may be
// of that line.
func (c *candidates) of(key groupKey) []groupKey {
	if c.by == nil {
		c.index()
	}
	var found []groupKey
	for _, a := range aims(key) {
		for _, k := range c.by[a] {
			if !slices.Contains(found, k) {
				found = append(found, k)
			}
		}
	}
	if slices.ContainsFunc(found, c.asked) {
		found = slices.DeleteFunc(found, func(k groupKey) bool { return k.label != (label{}) })
	}
	if slices.ContainsFunc(found, func(k groupKey) bool { return k.label == (label{}) }) {
		found = slices.DeleteFunc(found, func(k groupKey) bool { return k.label != (label{}) && c.judge.vague(k.process, c.among[k]) })
	}
	return found
}

// saysMore reports whether an origin can be that of sockets whose stack names no
// line: theirs is an event loop's, and it is known who asked for its own; or theirs
// is not all there is of a stack, and its own names a line.
func (c *candidates) saysMore(origin groupKey, nameless []member) bool {
	return c.asked(origin) || origin.label == (label{}) && c.judge.vague(origin.process, nameless)
}

// asked reports whether it is known of sockets of a group who asked for them.
func (c *candidates) asked(key groupKey) bool {
	asks, known := c.asks[key]
	if !known {
		asks = c.judge.asks(key.process, c.among[key])
		c.asks[key] = asks
	}
	return asks
}

// aims are those of the sockets that a group's may be like, as label.fits has it.
func aims(key groupKey) []aim {
	l := key.label
	at := func(l label, anybody bool) aim { return aim{service{key.process, l}, key.class, anybody} }
	of := label{family: l.family, kind: l.kind, protocol: l.protocol}
	var all []aim
	if l.unbound {
		accepted := of
		accepted.accepted = true
		all = append(all, at(accepted, true))
	}
	if !l.accepted && !l.peer.IsValid() {
		return append(all, at(of, true))
	}
	l.unbound = false
	return append(all, at(l, false))
}

// index notes what the members of each group that count are for.
func (c *candidates) index() {
	c.by = map[aim][]groupKey{}
	for key, members := range c.among {
		if key.stack == 0 {
			continue
		}
		seen := map[label]bool{}
		for i := range members {
			m := &members[i]
			if !c.counts(m) {
				continue
			}
			l := c.judge.labelOf(&m.Socket, key.process)
			l.unbound = false
			if seen[l] {
				continue
			}
			seen[l] = true
			c.add(aim{service{key.process, l}, key.class, false}, key)
			anybody := label{family: l.family, kind: l.kind, protocol: l.protocol, accepted: l.accepted}
			c.add(aim{service{key.process, anybody}, key.class, true}, key)
		}
	}
}

// add notes a group once: all its members are added one after the other.
func (c *candidates) add(a aim, key groupKey) {
	if keys := c.by[a]; len(keys) == 0 || keys[len(keys)-1] != key {
		c.by[a] = append(keys, key)
	}
}
