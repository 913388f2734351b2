package verdict

import (
	"cmp"
	"maps"
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// join gives sockets that have no stack the origin of those of the same process,
// class and purpose that have one, if there is only one such origin. Where no such
// socket is leaked while tracing, those count that are on the way into the class;
// and for accepted ones all that were accepted on the same port, because that is
// seldom done in two places.
func (j *Judge) join(groups map[groupKey]*group, t *lifecycle.Table) {
	like := j.candidates(j.among(groups), j.stays)
	var origins map[purpose]bool
	for _, key := range slices.SortedFunc(maps.Keys(groups), byClass) {
		if key.stack != 0 {
			continue
		}
		candidates := like.of(key)
		for _, class := range earlier(key.class) {
			if len(candidates) > 0 {
				break
			}
			for _, c := range like.of(key.in(class)) {
				candidates = append(candidates, c.in(key.class))
			}
		}
		if len(candidates) == 0 && key.label.accepted {
			if origins == nil {
				origins = j.purposes(t)
			}
			candidates = elsewhere(key, origins)
		}
		rivals := max(len(candidates), groups[key].rivals)
		if groups[key].rivals = rivals; rivals != 1 || len(candidates) != 1 {
			continue
		}
		j.merge(groups, key, candidates[0])
	}
}

// joinNameless gives sockets whose stack names no line the origin of those of the same
// process, class and purpose that may be of the same one and say more, if there is
// only one such origin.
func (j *Judge) joinNameless(groups map[groupKey]*group) {
	like := j.candidates(j.among(groups), j.stays)
	for _, key := range slices.SortedFunc(maps.Keys(groups), byClass) {
		if key.stack == 0 || j.placed(key, groups[key].members) {
			continue
		}
		if candidates := like.of(key); len(candidates) == 1 && like.saysMore(candidates[0], groups[key].members) {
			j.merge(groups, key, candidates[0])
		}
	}
}

// vague reports whether all stacks of a group may lack frames. In a program of an
// interpreted language, before stacks of every language are there, one such stack is
// that of many lines.
func (j *Judge) vague(p event.ProcessKey, members []member) bool {
	return !slices.ContainsFunc(members, func(m member) bool { return !j.origins.lacksFrames(p, j.stackOf(p, &m.Socket)) })
}

// young are the groups that are not accused, of which the origin isn't known, or not
// who asked.
func (j *Judge) young(groups map[groupKey]*group) []*group {
	var young []*group
	for key, members := range j.members {
		if groups[key] != nil || j.placed(key, members) {
			continue
		}
		if settled := j.settled(members); len(settled) > 0 {
			young = append(young, &group{key: key, members: settled, series: j.groups[key]})
		}
	}
	return young
}

// placed reports whether the origin of a group is known, and who asked.
func (j *Judge) placed(key groupKey, members []member) bool {
	return key.stack != 0 && (key.label == (label{}) || j.asks(key.process, members))
}

// joinYoung gives the young the origin of an accused group, if they can be of no
// other: as the younger ones of its own origin, they count with it.
func (j *Judge) joinYoung(groups map[groupKey]*group, young []*group) {
	like := j.candidates(j.among(groups), j.stays)
	for _, g := range young {
		candidates := like.of(g.key)
		if len(candidates) != 1 || groups[candidates[0]] == nil {
			continue
		}
		if g.key.stack != 0 && !like.saysMore(candidates[0], g.members) {
			continue
		}
		groups[g.key] = g
		j.merge(groups, g.key, candidates[0])
	}
}

// among is what the last look saw, and of processes that ended what counts as leaked.
func (j *Judge) among(groups map[groupKey]*group) map[groupKey][]member {
	members := maps.Clone(j.members)
	for key, g := range groups {
		members[key] = g.members
	}
	return members
}

// stays reports whether a member is not one that is passing through.
func (j *Judge) stays(m *member) bool {
	return m.ended != 0 || m.looks >= looksNeeded && m.settled(j.looked)
}

// merge makes the sockets of a group those of the origin of another.
func (j *Judge) merge(groups map[groupKey]*group, from, into groupKey) {
	to := groups[into]
	if to == nil {
		// Not old enough alone, but with those before it the case is clear.
		to = &group{key: into, members: j.settled(j.members[into]), series: j.groups[into]}
		groups[into] = to
	}
	to.members = append(to.members, groups[from].members...)
	to.series = to.series.plus(groups[from].series)
	to.rose = cmp.Or(to.rose, groups[from].rose)
	to.inferred = true
	delete(groups, from)
}

// earlier is what a leaked socket of a class may have been until then.
func earlier(c Class) []Class {
	switch c {
	case ConnectFailed:
		return []Class{ConnectPending}
	case Dead:
		return []Class{PeerClosed, HalfOpen, HalfClosed, Abandoned}
	}
	return nil
}

// byClass makes the order in which groups are joined the same every time.
func byClass(a, b groupKey) int { return cmp.Compare(a.class, b.class) }

// joinGrown does the same for those that nothing speaks against but their number,
// with the groups that addGrown made: before those are joined with others. What was
// made while tracing and grows is found without an origin, too, and with it what
// was there before for the same.
func (j *Judge) joinGrown(groups map[groupKey]*group, grown growth) {
	all := j.candidates(grown.members, func(*member) bool { return true })
	for key, members := range grown.members {
		if key.stack != 0 {
			continue
		}
		if like := all.of(key); len(like) == 1 {
			j.mergeGrown(groups, key, members, like[0], grown)
		} else {
			j.addGrown(groups, key, members)
			groups[key.in(members[0].cond.class)].rivals = len(like)
		}
	}
	for key, members := range grown.before {
		like := all.of(key)
		made := key
		made.arrival = lifecycle.Created
		if len(like) == 0 && grown.members[made] != nil {
			like = append(like, made)
		}
		if len(like) == 1 {
			j.mergeGrown(groups, key, members, like[0], grown)
		}
	}
}

// mergeGrown makes sockets without a stack those of a group that grows.
func (j *Judge) mergeGrown(groups map[groupKey]*group, key groupKey, members []member, into groupKey, grown growth) {
	class := grown.members[into][0].cond.class
	for i := range members {
		members[i].cond.class = class
	}
	to := groups[into.in(class)]
	to.members = append(to.members, members...)
	to.series = to.series.plus(j.groups[key])
	to.inferred = to.inferred || into.stack != 0
}

// purpose is what an origin made a socket for.
type purpose struct {
	origin originKey
	label  label
}

// purposes are those of all sockets that have a stack.
func (j *Judge) purposes(t *lifecycle.Table) map[purpose]bool {
	all := map[purpose]bool{}
	for s, holders := range t.Sockets() {
		if key := j.groupOf(s, holders, ""); key.stack != 0 {
			all[purpose{key.originKey, j.labelOf(s, key.process)}] = true
		}
	}
	return all
}

// elsewhere are the groups that sockets without a stack would be in if they were
// of an origin that makes others for the same.
func elsewhere(key groupKey, all map[purpose]bool) []groupKey {
	found := map[groupKey]bool{}
	for p := range all {
		if p.origin.process == key.process && key.label.fits(p.label) {
			found[groupKey{originKey: p.origin, class: key.class}] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}
