package verdict

import (
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// looksNeeded is how many snapshots must have shown a socket in the same
// condition before it is reported: what is only passing through is gone at the
// second look.
const looksNeeded = 2

// settled is how long a socket must have been in its condition to be counted
// with others of its origin that are already past the minimal age.
const settled = uint64(500 * time.Millisecond)

// Judge watches the table over time. It has no clock: the times are those of
// the snapshots, in ns of CLOCK_MONOTONIC.
type Judge struct {
	// Stackless: no stacks are taken, so no origin will be named.
	Stackless bool

	minAge, idle uint64 // ns
	began        uint64 // when tracing did

	suspects map[name]*suspect
	limits   map[event.ProcessKey]*forecast
	// groups has the members' count at every look, by class and without.
	groups map[groupKey]*series
	// opened counts the creations of each origin since tracing began, by
	// process and stack.
	opened map[event.ProcessKey]map[uint64]uint64
	// better has, for stacks of a lesser tier, those of a better one that were
	// taken of the same calls: by process and stack.
	better relations
	// calls has the stacks that calls were made on, as far as they were taken.
	calls relations
	// asked has, for stacks that sockets were made on, those where they were
	// asked for.
	asked relations
	// standing has how many sockets asked shows that for, by process and stack.
	standing map[event.ProcessKey]map[uint64]standing
	// askCalls has the places that calls asked for sockets at, and askSpared
	// counts the creations of which only the call is known that asked.
	askCalls  relations
	askSpared map[event.ProcessKey]map[division]uint64
	// divided counts the creations of origins that are divided further.
	divided map[event.ProcessKey]map[division]uint64
	origins origins

	// What the last look saw: the suspects in full, of the others only how
	// many there are.
	members map[groupKey][]member
	others  map[groupKey]tally
	// idleBefore counts the idle connections from before tracing began, quiet
	// those that observations are about; spreads and scattered, see scatter.
	idleBefore map[service]int
	quiet      map[place]int
	seed       maphash.Seed
	spreads    map[uint64]spread // by hash of the service
	scattered  map[event.ProcessKey]bool
	listening  map[port]bool
	listened   map[Listener]bool // at any look until now
	// superseded has since when connections are; met are those that are looked
	// at for it.
	superseded map[name]uint64
	met        map[name]acquaintance
	uses       uses
	// maybeSuperseded may be, or may be a pool's.
	maybeSuperseded replaced
	ended           []member
	endedAt         map[name]int // where in ended a socket is
	// left has the processes that created those.
	left map[event.ProcessKey]bool
	// endedOmitted is how many more there were.
	endedOmitted int
	// endedGrown has the counts of origins that grew until their process ended,
	// as they were grouped then.
	endedGrown map[groupKey]*series
	looked     uint64 // its time, ns
}

// name is a socket's name, for as long as it lives.
type name struct{ inode, birth uint64 }

// suspect is a socket in a condition that no program wants.
type suspect struct {
	condition
	looks    int
	from     uint64 // where the condition's own time is vague: of the first look, ns
	used     uint64 // when a look found that it had been of use in between, ns
	last     uint64 // time of the last look, ns
	attempts uint16 // of connect
}

// member is a socket of a group, as it was when it was looked at: the table's
// own is recycled.
type member struct {
	lifecycle.Socket
	holders []lifecycle.Holder
	cond    condition
	ripe    bool    // old enough, and looked at often enough
	looks   int     // that saw it in its condition
	ended   uint64  // when its process ended, ns; zero while it lives
	grew    *series // how its origin grew until then, where that accuses it
}

// settled reports whether the condition has lasted so long at the time given
// that the member may count with others that are ripe.
func (m *member) settled(now uint64) bool {
	return m.ripe || !m.cond.innocent && now >= m.cond.since+settled
}

// Patience is how long the judge waits before it accuses.
type Patience struct {
	// MinAge is the grace time: how long a socket must be in its condition.
	MinAge time.Duration `json:"min_age"`
	// Idle is how long nothing must have come or gone on an established
	// connection before it may be suspected.
	Idle time.Duration `json:"idle"`
}

// NewJudge returns a judge of a trace that began at the time given, in ns of
// CLOCK_MONOTONIC.
func NewJudge(p Patience, began uint64) *Judge {
	return &Judge{
		minAge:     uint64(p.MinAge),
		idle:       uint64(p.Idle),
		began:      began,
		suspects:   map[name]*suspect{},
		limits:     map[event.ProcessKey]*forecast{},
		groups:     map[groupKey]*series{},
		opened:     map[event.ProcessKey]map[uint64]uint64{},
		better:     relations{},
		calls:      relations{},
		asked:      relations{},
		standing:   map[event.ProcessKey]map[uint64]standing{},
		uses:       newUses(),
		askCalls:   relations{},
		askSpared:  map[event.ProcessKey]map[division]uint64{},
		divided:    map[event.ProcessKey]map[division]uint64{},
		origins:    newOrigins(),
		members:    map[groupKey][]member{},
		others:     map[groupKey]tally{},
		idleBefore: map[service]int{},
		quiet:      map[place]int{},
		seed:       maphash.MakeSeed(),
		spreads:    map[uint64]spread{},
		scattered:  map[event.ProcessKey]bool{},
		superseded: map[name]uint64{},
		listened:   map[Listener]bool{},
		left:       map[event.ProcessKey]bool{},
		endedGrown: map[groupKey]*series{}, endedAt: map[name]int{},
		met: map[name]acquaintance{},
	}
}

// Created notes a creation, so that what stays open can be told from what comes
// and goes.
func (j *Judge) Created(e *event.Event) {
	if e.Stack == 0 {
		return
	}
	p := event.ProcessKey{PID: e.PID, Start: e.Start}
	if e.Kind == event.Accept {
		j.countDivided(p, division{e.Stack, listenerOf(&e.Sock, e.Inode2)})
	}
	stacks := j.opened[p]
	if stacks == nil {
		stacks = map[uint64]uint64{}
		j.opened[p] = stacks
	}
	if stacks[e.Stack] > 0 || len(stacks) < maxOrigins {
		stacks[e.Stack]++
	}
}

// Look judges every live socket after a snapshot that ended at now. What it
// returns is the number of suspects, those too that are not reported yet. names
// is asked for the origins of those only that were suspects before or are left by a
// process that ended, or whose origin may have several stacks.
func (j *Judge) Look(now uint64, t *lifecycle.Table, names Names) (suspects int) {
	j.looked = now
	j.listening = j.listeningPorts(t)
	clear(j.members)
	clear(j.others)
	clear(j.idleBefore)
	clear(j.quiet)
	clear(j.spreads)
	j.supersede(now, t)
	j.witness(now, t)
	j.regroup()
	// First what the sockets are in and of which origin, because one socket can
	// change what another is grouped by; then the groups.
	for s, holders := range t.Sockets() {
		j.watch(j.subject(now, s, holders), names)
	}
	left := map[event.ProcessKey]int{}
	for i := range j.ended {
		left[j.ended[i].Creator]++
	}
	for i := range j.ended {
		// One alone has nothing that it could be counted with.
		if m := &j.ended[i]; left[m.Creator] > 1 {
			j.learn(owner(&m.Socket, m.holders), &m.Socket, names)
		}
	}
	for n, s := range j.suspects {
		if s.last != now {
			delete(j.suspects, n)
		}
	}
	clear(j.scattered)
	for s, holders := range t.Sockets() {
		j.group(j.subject(now, s, holders))
	}
	j.forgetDead(t)
	j.dropUses(t)
	j.sample(now)
	return len(j.suspects)
}

func (j *Judge) subject(now uint64, s *lifecycle.Socket, holders []lifecycle.Holder) subject {
	return subject{Socket: s, now: now, minAge: j.minAge, idle: j.idle, holders: holders}
}

// regroup counts what was counted under a stack that was exchanged since with what
// it was exchanged for: complete stacks come late, and growth takes time to show.
func (j *Judge) regroup() {
	for _, key := range slices.Collect(maps.Keys(j.groups)) {
		id, bare := j.origins.of(key.process, j.askedOn(key.process, key.stack))
		if key.stack == 0 || id == key.stack || bare {
			continue
		}
		to := key
		to.stack = id
		if j.origins.names(key.process, id) {
			to.label = label{}
		}
		j.groups[to] = j.groups[to].plus(j.groups[key])
		delete(j.groups, key)
	}
}

// watch keeps account of a socket that is in a condition no program wants.
func (j *Judge) watch(s subject, names Names) {
	c, ok := j.judge(s)
	if !ok {
		j.noteBefore(s)
		if p := owner(s.Socket, s.holders); j.scattered[p] && j.silent(s.Socket) {
			j.learn(p, s.Socket, names)
		}
		return
	}
	if u := j.suspect(s, c); u.looks >= looksNeeded {
		j.learn(owner(s.Socket, s.holders), s.Socket, names)
	}
}

// group puts a socket into its group.
func (j *Judge) group(s subject) {
	c, ok := j.judge(s)
	key := j.groupOf(s.Socket, s.holders, c.class)
	if !ok {
		n := j.others[key]
		n.add(j, key, s)
		j.others[key] = n
		return
	}
	u := j.suspects[name{s.Inode, s.Birth}]
	m := newMember(s.Socket, s.holders, u.condition)
	m.looks = u.looks
	m.ripe = u.looks >= looksNeeded && s.now >= u.since+max(j.minAge, c.patience)
	j.members[key] = append(j.members[key], m)
}

// learn resolves a stack that is seen for the first time. If it turns out to be
// one with others, what was counted under it is counted with them; and what was
// counted under one that names no line, and was exchanged for it, by what it names.
func (j *Judge) learn(p event.ProcessKey, s *lifecycle.Socket, names Names) {
	id := j.stackOf(p, s)
	if !j.origins.learn(p, id, names) {
		return
	}
	standIn, bare := j.origins.of(p, id)
	for key, counted := range j.groups {
		if key.process != p || key.stack != id {
			continue
		}
		to := key
		to.stack = standIn
		switch {
		case !bare:
			to.label = label{}
		case key.label == (label{}):
			// Of sockets for several peers all is taken for this one's.
			to.label = j.labelOf(s, p)
		}
		if to == key {
			continue
		}
		if j.groups[to] == nil {
			j.groups[to] = counted
		} else {
			j.groups[to] = j.groups[to].plus(counted)
		}
		delete(j.groups, key)
	}
}

// suspect notes one more look at a socket in the condition c. Another connect on
// the same socket, or what changed its mark, begins a new account.
func (j *Judge) suspect(s subject, c condition) *suspect {
	n := name{s.Inode, s.Birth}
	u := j.suspects[n]
	if u == nil || u.class != c.class || u.attempts != s.Attempts || u.mark != c.mark {
		used := u != nil && u.class == c.class && u.mark != c.mark
		u = &suspect{from: s.now, attempts: s.Attempts}
		if used {
			u.used = s.now
		}
		j.suspects[n] = u
	}
	c.since = max(c.since, u.used)
	if c.vague {
		c.since = max(c.since, u.from)
	}
	if c.atLeast && u.looks > 0 {
		c.since = min(c.since, u.since)
	}
	u.condition, u.last = c, s.now
	u.looks++
	return u
}

// sample notes the number of members of each group.
func (j *Judge) sample(now uint64) {
	add := func(key groupKey, n int) {
		if j.groups[key] == nil {
			j.groups[key] = &series{}
		}
		j.groups[key].add(now, n)
	}
	for key, members := range j.members {
		add(key, len(members))
	}
	for key, n := range j.others {
		add(key, n.live)
	}
	for key, s := range j.groups {
		if s.times[len(s.times)-1] == now {
			continue
		}
		if s.add(now, 0); s.over() {
			delete(j.groups, key)
		}
	}
}

// newMember copies what the table will recycle.
func newMember(s *lifecycle.Socket, holders []lifecycle.Holder, c condition) member {
	return member{Socket: *s, holders: slices.Clone(holders), cond: c}
}
