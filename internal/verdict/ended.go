package verdict

import (
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// maxEnded bounds the sockets of ended processes that are remembered.
const maxEnded = 16384

// End notes that a process ends now, in ns, with the sockets it has: nothing can
// be asked about them any more. Only where their process's end is not what was
// meant to close them, as in a command under test, may it be called.
func (j *Judge) End(now uint64, p event.ProcessKey, t *lifecycle.Table) {
	for s, holders := range t.Sockets() {
		if slices.ContainsFunc(holders, func(h lifecycle.Holder) bool { return h.Process != p }) {
			continue
		}
		c, ok := judge(subject{Socket: s, now: now, minAge: j.minAge, holders: holders, ended: true})
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
		j.ended = append(j.ended, m)
	}
}

// EndedOmitted is the number of suspicious sockets of ended processes that are
// in no finding, because there were too many to remember.
func (j *Judge) EndedOmitted() int { return j.endedOmitted }

// addEnded adds the sockets that were open when their process ended. One that
// the program had not left behind is no leak: the end of the process was its
// close. Nor is one that it had, alone and not for long.
func (j *Judge) addEnded(groups map[groupKey]*group) {
	ended := map[groupKey][]member{}
	for _, m := range j.ended {
		key := j.groupOf(&m.Socket, m.holders, m.cond.class)
		ended[key] = append(ended[key], m)
	}
	for key, members := range ended {
		left := leftBehind(members)
		if len(left) < 2 && !slices.ContainsFunc(left, func(m member) bool { return m.ripe }) {
			continue
		}
		if groups[key] == nil {
			groups[key] = &group{key: key}
		}
		groups[key].members = append(groups[key].members, left...)
	}
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
