package verdict

import (
	"maps"
	"net/netip"
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
	minAge uint64

	suspects map[name]*suspect
	limits   map[event.ProcessKey]*forecast
	// groups has the members' count at every look, by class and without.
	groups map[groupKey]*series
	// opened counts the creations of each origin since tracing began, by
	// process and stack.
	opened map[event.ProcessKey]map[uint64]uint64
	// better has, for stacks of a lesser tier, those of a better one that were
	// taken of the same calls: by process and stack.
	better map[event.ProcessKey]map[uint64]uint64
	// divided counts the creations of origins that are divided further.
	divided map[originKey]uint64
	origins origins

	// What the last look saw: the suspects in full, of the others only how
	// many there are.
	members   map[groupKey][]member
	others    map[groupKey]tally
	listening map[port]bool
	ended     []member
	// endedOmitted is how many more there were.
	endedOmitted int
	looked       uint64 // its time, ns
}

// tally counts sockets that no rule accuses.
type tally struct{ live, silent int }

// name is a socket's name, for as long as it lives.
type name struct{ inode, birth uint64 }

// suspect is a socket in a condition that no program wants.
type suspect struct {
	condition
	looks    int
	from     uint64 // where the condition's own time is vague: of the first look, ns
	last     uint64 // time of the last look, ns
	attempts uint16 // of connect
}

// member is a socket of a group, as it was when it was looked at: the table's
// own is recycled.
type member struct {
	lifecycle.Socket
	holders []lifecycle.Holder
	cond    condition
	ripe    bool   // old enough, and looked at often enough
	looks   int    // that saw it in its condition
	ended   uint64 // when its process ended, ns; zero while it lives
}

// settled reports whether the condition has lasted so long at the time given
// that the member may count with others that are ripe. A connect that may still
// succeed never does.
func (m *member) settled(now uint64) bool {
	return m.ripe || m.cond.patience == 0 && now >= m.cond.since+settled
}

// originKey names the code that creates sockets.
type originKey struct {
	process event.ProcessKey
	stack   uint64
	by      uint64 // what divides it further, see divide
}

// groupKey names what is reported together. Sockets without a stack are told
// apart by what they are for.
type groupKey struct {
	originKey
	class Class // empty: in no condition that a rule names
	label label
}

// label is what a socket is for, as far as that can be seen from outside.
type label struct {
	family, kind, protocol uint16
	// peer is the address connected to; or for accepted sockets the local
	// port alone, because every client has an address of its own.
	peer     netip.AddrPort
	accepted bool
}

// fits reports whether a socket with label l may be for what one with the other
// is. Of one from before, whose connect failed, the kernel has forgotten the
// peer.
func (l label) fits(other label) bool {
	if !l.accepted && !l.peer.IsValid() && !other.accepted {
		other.peer = l.peer
	}
	return l == other
}

// NewJudge returns a judge with the given grace time.
func NewJudge(minAge time.Duration) *Judge {
	return &Judge{
		minAge:   uint64(minAge),
		suspects: map[name]*suspect{},
		limits:   map[event.ProcessKey]*forecast{},
		groups:   map[groupKey]*series{},
		opened:   map[event.ProcessKey]map[uint64]uint64{},
		better:   map[event.ProcessKey]map[uint64]uint64{},
		divided:  map[originKey]uint64{},
		origins:  newOrigins(),
		members:  map[groupKey][]member{},
		others:   map[groupKey]tally{},
	}
}

// Created notes a creation, so that what stays open can be told from what comes
// and goes.
func (j *Judge) Created(e *event.Event) {
	if e.Stack == 0 {
		return
	}
	if e.Kind == event.Accept {
		j.divided[originKey{event.ProcessKey{PID: e.PID, Start: e.Start}, e.Stack, listenerOf(&e.Sock, e.Inode2)}]++
	}
	p := event.ProcessKey{PID: e.PID, Start: e.Start}
	stacks := j.opened[p]
	if stacks == nil {
		stacks = map[uint64]uint64{}
		j.opened[p] = stacks
	}
	stacks[e.Stack]++
}

// severalBetter stands in better for a stack that the better tier tells several
// of: an interpreter's, say, which is the same for every line of the program.
const severalBetter = 0

// Better notes that the stack of a socket was exchanged for another of the same
// call, that tells more. Sockets that have only the first belong to the same
// origin, unless the first turns out to stand for several.
func (j *Judge) Better(p event.ProcessKey, lesser, better uint64) {
	if lesser == 0 || better == 0 || lesser == better {
		return
	}
	stacks := j.better[p]
	if stacks == nil {
		stacks = map[uint64]uint64{}
		j.better[p] = stacks
	}
	if known, ok := stacks[lesser]; !ok {
		stacks[lesser] = better
	} else if known != better {
		stacks[lesser] = severalBetter
	}
	j.Moved(p, lesser, better)
}

// Moved counts a creation at another stack than where it was noted.
func (j *Judge) Moved(p event.ProcessKey, from, to uint64) {
	if opened := j.opened[p]; opened[from] > 0 {
		opened[from]--
		opened[to]++
	}
}

// openedAt is how many sockets were made at an origin since tracing began.
func (j *Judge) openedAt(key originKey) uint64 {
	if key.by != 0 {
		return j.dividedAt(key)
	}
	n := j.opened[key.process][key.stack]
	for lesser := range j.better[key.process] {
		if lesser != key.stack && j.best(key.process, lesser) == key.stack {
			n += j.opened[key.process][lesser]
		}
	}
	for id, standIn := range j.origins.standIn[key.process] {
		if standIn == key.stack && id != key.stack {
			n += j.opened[key.process][id]
		}
	}
	return n
}

// bestStack is the stack that a socket is grouped by: where it was asked for, if
// that is known, else where it was made.
func (j *Judge) bestStack(p event.ProcessKey, s *lifecycle.Socket) uint64 {
	if s.AskVia == lifecycle.ByLibuv {
		return s.AskStack
	}
	return j.best(p, s.Stack)
}

// best is what a stack was exchanged for: one by frame pointers for a complete
// one, and that for the one where the socket was asked for.
func (j *Judge) best(p event.ProcessKey, id uint64) uint64 {
	for range 2 {
		better := j.better[p][id]
		if better == severalBetter {
			break
		}
		id = better
	}
	return id
}

// Forget lets go of what is only needed while the process lives, or while it is
// to be judged by what it left.
func (j *Judge) Forget(p event.ProcessKey) {
	delete(j.opened, p)
	maps.DeleteFunc(j.divided, func(key originKey, _ uint64) bool { return key.process == p })
	if !slices.ContainsFunc(j.ended, func(m member) bool { return m.Creator == p }) {
		delete(j.better, p)
		j.origins.forget(p)
	}
}

// Look judges every live socket after a snapshot that ended at now. What it
// returns is the number of suspects, those too that are not reported yet. names
// is asked for the origins of those only that were suspects before.
func (j *Judge) Look(now uint64, t *lifecycle.Table, names Names) (suspects int) {
	j.looked = now
	j.listening = listeningPorts(t)
	clear(j.members)
	clear(j.others)
	// First what the sockets are in and of which origin, because one socket can
	// change what another is grouped by; then the groups.
	for s, holders := range t.Sockets() {
		j.watch(subject{Socket: s, now: now, minAge: j.minAge, holders: holders}, names)
	}
	for n, s := range j.suspects {
		if s.last != now {
			delete(j.suspects, n)
		}
	}
	for s, holders := range t.Sockets() {
		j.group(subject{Socket: s, now: now, minAge: j.minAge, holders: holders})
	}
	for p := range j.opened {
		if _, live := t.Process(p); !live {
			j.Forget(p) // its end may have been lost
		}
	}
	j.sample(now)
	return len(j.suspects)
}

// watch keeps account of a socket that is in a condition no program wants.
func (j *Judge) watch(s subject, names Names) {
	c, ok := judge(s)
	if !ok {
		return
	}
	if u := j.suspect(s, c); u.looks >= looksNeeded {
		j.learn(owner(s.Socket, s.holders), s.Socket, names)
	}
}

// group puts a socket into its group.
func (j *Judge) group(s subject) {
	c, ok := judge(s)
	key := j.groupOf(s.Socket, s.holders, c.class)
	if !ok {
		n := j.others[key]
		n.live++
		if j.silent(s.Socket) {
			n.silent++
		}
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
// one with others, what was counted under it is counted with them.
func (j *Judge) learn(p event.ProcessKey, s *lifecycle.Socket, names Names) {
	id := j.bestStack(p, s)
	if !j.origins.learn(p, id, names) {
		return
	}
	standIn, bare := j.origins.of(p, id)
	for key, counted := range j.groups {
		if key.process != p || key.stack != id || key.label != (label{}) {
			continue
		}
		to := key
		to.stack = standIn
		if bare {
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
// the same socket, or data on one that was handed down, begins a new account.
func (j *Judge) suspect(s subject, c condition) *suspect {
	n := name{s.Inode, s.Birth}
	u := j.suspects[n]
	if u == nil || u.class != c.class || u.attempts != s.Attempts || c.class == Inherited && moved(s, u.from) {
		u = &suspect{from: s.now, attempts: s.Attempts}
		j.suspects[n] = u
	}
	if c.vague {
		c.since = max(c.since, u.from)
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

// port is a local port in a process.
type port struct {
	process event.ProcessKey
	number  uint16
}

// listeningPorts are the ports that are listened on: a connection on one of
// them was accepted.
func listeningPorts(t *lifecycle.Table) map[port]bool {
	ports := map[port]bool{}
	for s, holders := range t.Sockets() {
		if s.Sock.State != event.StateListen {
			continue
		}
		for _, h := range holders {
			ports[port{h.Process, s.Sock.Local.Port()}] = true
		}
	}
	return ports
}

func (j *Judge) groupOf(s *lifecycle.Socket, holders []lifecycle.Holder, c Class) groupKey {
	process := owner(s, holders)
	id, bare := j.origins.of(process, j.bestStack(process, s))
	key := groupKey{originKey: originKey{process: process, stack: id, by: divide(s)}, class: c}
	if id == 0 || bare {
		key.label = j.labelOf(s, process)
	}
	return key
}

// owner is the process that a socket is counted for: its creator; if that wasn't
// seen, the oldest that holds it, because it is handed down, not up.
func owner(s *lifecycle.Socket, holders []lifecycle.Holder) event.ProcessKey {
	if s.Creator.PID != 0 || len(holders) == 0 {
		return s.Creator
	}
	oldest := holders[0].Process
	for _, h := range holders[1:] {
		if h.Process.Start < oldest.Start {
			oldest = h.Process
		}
	}
	return oldest
}

func (j *Judge) labelOf(s *lifecycle.Socket, process event.ProcessKey) label {
	l := label{family: s.Sock.Family, kind: s.Sock.Type, protocol: s.Sock.Protocol}
	if s.Kind == lifecycle.ByAccept || j.listening[port{process, s.Sock.Local.Port()}] {
		l.accepted = true
		l.peer = netip.AddrPortFrom(netip.Addr{}, s.Sock.Local.Port())
		return l
	}
	l.peer = peer(s)
	return l
}

// peer is the address a socket is, was or should have been connected to.
func peer(s *lifecycle.Socket) netip.AddrPort {
	if s.Sock.Remote.IsValid() {
		return s.Sock.Remote
	}
	return s.Asked
}

// newMember copies what the table will recycle.
func newMember(s *lifecycle.Socket, holders []lifecycle.Holder, c condition) member {
	return member{Socket: *s, holders: slices.Clone(holders), cond: c}
}
