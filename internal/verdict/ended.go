package verdict

import (
	"cmp"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// maxEnded bounds the sockets of ended processes that are remembered.
const maxEnded = 16384

// End notes that a process ends now, in ns, with the sockets it has: nothing can
// be asked about them any more. Only where their process's end is not what was
// meant to close them, as in a command under test, may it be called.
func (j *Judge) End(now uint64, p event.ProcessKey, t *lifecycle.Table) {
	for s, holders := range t.OwnSockets(p) {
		as := j.subject(now, s, holders)
		as.ended = true
		c, ok := j.judge(as)
		if !ok {
			c, ok = j.grew(as)
		}
		if !ok || now < c.since+c.patience {
			continue
		}
		u := j.suspects[name{s.Inode, s.Birth}]
		switch {
		case u != nil && u.class == c.class && u.attempts == s.Attempts:
			c.since = max(c.since, u.since)
		case c.class == Inherited:
			continue // nobody looked whether it was used
		}
		if len(j.ended) >= maxEnded {
			j.endedOmitted++
			continue
		}
		m := newMember(s, holders, c)
		m.ended, m.ripe = now, now >= c.since+j.minAge
		if c.grown {
			m.grew = j.grewUntil(as)
		}
		j.endedAt[name{s.Inode, s.Birth}] = len(j.ended)
		j.ended = append(j.ended, m)
		j.left[m.Creator] = true
	}
}

// Ended returns a suspicious socket that was open when its process ended, as it was
// then, nil if none is remembered. What is learned of it after the end may be noted
// there, before the next call of End.
func (j *Judge) Ended(inode, birth uint64) *lifecycle.Socket {
	if i, ok := j.endedAt[name{inode, birth}]; ok {
		return &j.ended[i].Socket
	}
	return nil
}

// grew is the condition of a socket whose origin grew until its process ended.
func (j *Judge) grew(s subject) (condition, bool) {
	key := j.groupOf(s.Socket, s.holders, "")
	class, ok := j.growing(key)
	if !ok {
		return condition{}, false
	}
	return condition{class: class, since: s.Birth, grown: true}, true
}

// grewUntil is how the origin of a socket grew until its process ended. That is the
// sockets' own: what they are grouped by can change after the end.
func (j *Judge) grewUntil(s subject) *series {
	key := j.groupOf(s.Socket, s.holders, "")
	if j.endedGrown[key] == nil {
		j.endedGrown[key] = j.groups[key].plus(&series{})
	}
	return j.endedGrown[key]
}

// EndedOmitted is the number of suspicious sockets of ended processes that are
// in no finding, because there were too many to remember.
func (j *Judge) EndedOmitted() int { return j.endedOmitted }

// leftByEnded groups the suspicious sockets of ended processes as things are now.
func (j *Judge) leftByEnded() map[groupKey][]member {
	ended := map[groupKey][]member{}
	for i := range j.ended {
		m := &j.ended[i]
		key := j.groupOf(&m.Socket, m.holders, m.cond.class)
		ended[key] = append(ended[key], *m)
	}
	return ended
}

// addEnded adds the sockets that were open when their process ended. One that
// the program had not left behind is no leak: the end of the process was its
// close. Nor is one that it had, alone and not for long: those are returned of which
// the origin isn't known, for it may be that of others, and those that addApart is for.
func (j *Judge) addEnded(groups map[groupKey]*group, ended map[groupKey][]member) (alone, apart []*group) {
	for key, members := range ended {
		left := leftBehind(members)
		if len(left) == 0 {
			continue
		}
		g := groups[key]
		sum, most := grewUntilEnd(left)
		if len(left) == 1 && !left[0].ripe {
			switch only := (&group{key: key, members: left, series: cmp.Or(sum, j.groups[key]), rose: most}); {
			case g != nil:
			case j.placed(key, left):
				apart = append(apart, only)
			default:
				alone = append(alone, only)
			}
			continue
		}
		if g == nil {
			g = &group{key: key, series: cmp.Or(sum, j.groups[key])}
			groups[key] = g
		}
		g.members = append(g.members, left...)
		g.rose = cmp.Or(g.rose, most)
	}
	return alone, apart
}

// addApart adds those that are alone on their stack if others of the same line are
// accused, and of the one stack there is all and of the other not: then it may have been
// the walks that told them apart. What differs in stacks that are alike in that are
// callers, each of which may have let go of its own.
func (j *Judge) addApart(groups map[groupKey]*group, apart []*group) {
	if len(apart) == 0 {
		return
	}
	type line struct {
		process event.ProcessKey
		by      uint64
		class   Class
		text    string
		vague   bool
	}
	lineOf := func(g *group) line {
		k := g.key
		return line{k.process, k.by, k.class, j.origins.lines[k.process][k.stack], j.vague(k.process, g.members)}
	}
	accused := map[line]bool{}
	for _, g := range groups {
		accused[lineOf(g)] = true
	}
	for _, g := range apart {
		l := lineOf(g)
		l.vague = !l.vague
		if l.text != "" && accused[l] {
			groups[g.key] = g
		}
	}
}

// grewUntilEnd is how what sockets were grouped by grew until their process ended,
// together and where it was most; nil if that accuses none of them.
func grewUntilEnd(members []member) (sum, most *series) {
	counted := map[*series]bool{}
	for i := range members {
		s := members[i].grew
		if s == nil || counted[s] {
			continue
		}
		counted[s] = true
		sum = sum.plus(s)
		if most == nil || s.counts[len(s.counts)-1] > most.counts[len(most.counts)-1] {
			most = s
		}
	}
	return sum, most
}

// leftBehind returns those of an origin's sockets with which their process ended
// that it had done with: it went on for a while, or to create another one there.
// What fails as the program ends, as all connections do when the server goes, it
// had no time to close. A socket that was never used was not failed by anybody.
func leftBehind(members []member) []member {
	newest := uint64(0)
	for _, m := range members {
		newest = max(newest, m.Birth)
	}
	var left []member
	for _, m := range members {
		if m.cond.class == NeverUsed || m.settled(m.ended) || newest > m.cond.since {
			left = append(left, m)
		}
	}
	return left
}
