package verdict

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
)

// Names is what a judge can't know by itself.
type Names interface {
	// Process describes a process, one that ended too.
	Process(event.ProcessKey) Process
	// Origin resolves a stack.
	Origin(p event.ProcessKey, stack uint64) stack.Origin
	// Host is what a process calls an address; empty if it has no name there.
	Host(p event.ProcessKey, address netip.Addr) string
}

// group is the sockets of one finding.
type group struct {
	key      groupKey
	members  []member
	series   *series // how many there were; nil if that wasn't counted
	inferred bool    // some have no stack of their own
	rivals   int     // other origins that could be meant
	// site is the stack that accepts on the port that these were accepted on;
	// zero if they have one of their own, or none is known.
	site uint64
}

// lesser counts the members that were made when only a lesser tier of stacks was
// there, see Better.
func (j *Judge) lesser(g *group) int {
	return count(g, func(m *member) bool {
		return m.Lack <= event.LackEarly && j.better[g.key.process][m.Stack] != severalBetter
	})
}

// Findings returns what the last look found, the gravest first.
func (j *Judge) Findings(t *lifecycle.Table, names Names) []Finding {
	groups := j.accused()
	grown := j.grown(t)
	for key, members := range grown {
		if key.stack != 0 && len(members) > 0 {
			j.addGrown(groups, key, members)
		}
	}
	j.addEnded(groups)
	j.join(groups, grown)

	findings := []Finding{}
	for _, g := range groups {
		f := j.finding(g, names)
		f.AcceptedFrom = j.acceptedFrom(t, g, names)
		findings = append(findings, f)
	}
	slices.SortFunc(findings, gravest)
	return findings
}

// addGrown adds the sockets of an origin that grows. Those that another rule put
// into the same class are of one finding with them.
func (j *Judge) addGrown(groups map[groupKey]*group, key groupKey, members []member) {
	to := key.in(members[0].cond.class)
	g := groups[to]
	if g == nil {
		groups[to] = &group{key: to, members: members, series: j.groups[key]}
		return
	}
	g.members = append(g.members, members...)
	g.series = j.groups[key].plus(g.series)
}

// in is the group of the same sockets in another class.
func (k groupKey) in(c Class) groupKey {
	k.class = c
	return k
}

// accused returns the groups of suspects with one at least that is past the
// minimal age. The younger ones of the same origin count with it.
func (j *Judge) accused() map[groupKey]*group {
	groups := map[groupKey]*group{}
	for key, members := range j.members {
		if g := j.accuse(key, members); g != nil {
			groups[key] = g
		}
	}
	return groups
}

func (j *Judge) accuse(key groupKey, members []member) *group {
	if !slices.ContainsFunc(members, func(m member) bool { return m.ripe }) {
		return nil
	}
	return &group{key: key, members: j.settled(members), series: j.groups[key]}
}

func (j *Judge) settled(members []member) []member {
	var all []member
	for _, m := range members {
		if m.settled(j.looked) {
			all = append(all, m)
		}
	}
	return all
}

// join gives sockets that have no stack the origin of those of the same
// process, class and purpose that have one, if there is only one such origin. Those
// with an event loop's stack alone join the others of which it is known who asked.
func (j *Judge) join(groups map[groupKey]*group, grown map[groupKey][]member) {
	// What the last look saw, and of processes that ended what counts as leaked.
	members := maps.Clone(j.members)
	for key, g := range groups {
		members[key] = g.members
	}
	for _, key := range slices.Collect(maps.Keys(groups)) {
		loop := key.stack != 0 && key.label != (label{}) && !j.asks(key.process, groups[key].members)
		if key.stack != 0 && !loop {
			continue
		}
		candidates := j.candidates(key, members, func(m *member) bool {
			return m.ended != 0 || m.looks >= looksNeeded && m.settled(j.looked) // not one that is passing through
		})
		if loop && (len(candidates) != 1 || !j.asks(key.process, members[candidates[0]])) {
			continue
		}
		if len(candidates) != 1 {
			groups[key].rivals = len(candidates)
			groups[key].site = j.acceptSite(key)
			continue
		}
		to := groups[candidates[0]]
		if to == nil {
			// Not old enough alone, but with those before it the case is clear.
			to = &group{key: candidates[0], members: j.settled(j.members[candidates[0]]), series: j.groups[candidates[0]]}
			groups[candidates[0]] = to
		}
		to.members = append(to.members, groups[key].members...)
		to.series = to.series.plus(groups[key].series)
		to.inferred = true
		delete(groups, key)
	}
	for key, members := range grown {
		if key.stack != 0 {
			continue
		}
		if candidates := j.candidates(key, grown, func(*member) bool { return true }); len(candidates) == 1 {
			to := groups[candidates[0].in(members[0].cond.class)]
			to.members = append(to.members, members...)
			to.series = to.series.plus(j.groups[key])
			to.inferred = true
		}
	}
}

// acceptSite is the stack that a process accepts on a port by, if it is one for all
// those that were accepted while tracing, in whatever condition; else zero.
func (j *Judge) acceptSite(key groupKey) uint64 {
	sites := map[uint64]bool{}
	note := func(k groupKey, l label) {
		if k.process == key.process && k.stack != 0 && l == key.label {
			sites[k.stack] = true
		}
	}
	if !key.label.accepted {
		return 0
	}
	for k, n := range j.others {
		note(k, n.label)
	}
	for k, members := range j.members {
		note(k, j.labelOf(&members[0].Socket, k.process))
	}
	for id := range sites {
		if len(sites) == 1 {
			return id
		}
	}
	return 0
}

// candidates are the groups with a stack that sockets without one may be of, by
// those of their members that count. Where it is known of some who asked, those of
// which only the event loop's stack is known are none.
func (j *Judge) candidates(key groupKey, among map[groupKey][]member, counts func(*member) bool) []groupKey {
	var found []groupKey
	for other, members := range among {
		if other.stack == 0 || other.process != key.process || other.class != key.class {
			continue
		}
		if slices.ContainsFunc(members, func(m member) bool {
			return counts(&m) && key.label.fits(j.labelOf(&m.Socket, key.process))
		}) {
			found = append(found, other)
		}
	}
	if slices.ContainsFunc(found, func(k groupKey) bool { return j.asks(k.process, among[k]) }) {
		found = slices.DeleteFunc(found, func(k groupKey) bool { return k.label != (label{}) })
	}
	return found
}

// gravest orders findings by confidence, count, and then so that the order is
// the same every time.
func gravest(a, b Finding) int {
	rank := map[Confidence]int{High: 0, Medium: 1, Low: 2}
	return cmp.Or(
		cmp.Compare(rank[a.Confidence], rank[b.Confidence]),
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(a.Process.PID, b.Process.PID),
		cmp.Compare(a.Class, b.Class),
		cmp.Compare(a.Sockets[0].Inode, b.Sockets[0].Inode),
	)
}

func (j *Judge) finding(g *group, names Names) Finding {
	slices.SortFunc(g.members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.Birth, b.Birth), cmp.Compare(a.Inode, b.Inode))
	})
	class := g.members[0].cond.class
	f := Finding{
		Class:   class,
		Process: names.Process(g.key.process),
		Count:   len(g.members),
		Origin:  j.origin(g, names),
		States:  map[string]int{},
		Series:  []Sample{},
		Sockets: make([]Socket, 0, len(g.members)),
		Advice:  advice(class),
	}
	f.RequestedAt = j.requested(g, names)
	if g.series != nil {
		f.GrowthPerMin = g.series.perMinute()
		f.Series = g.series.samples(j.began)
	}
	peers := map[string]int{}
	for i := range g.members {
		m := &g.members[i]
		s := j.socket(m, names)
		f.Sockets = append(f.Sockets, s)
		f.States[s.State]++
		if s.Remote != nil { // an address, or the name of an AF_UNIX peer
			peers[*s.Remote]++
		}
	}
	f.Peers = sortedPeers(peers)
	f.LastUse = j.lastUses(g, names)
	nameHosts(f.Peers, g.key.process, names)
	f.OldestAge, f.YoungestAge = ages(f.Sockets)
	f.Evidence = j.evidence(g, names)
	f.Confidence = confidence(g, class, f.GrowthPerMin)
	return f
}

// nameHosts names the peers that are hosts.
func nameHosts(peers []Peer, process event.ProcessKey, names Names) {
	for i := range peers {
		if a, err := netip.ParseAddrPort(peers[i].Address); err == nil {
			peers[i].Name = names.Host(process, a.Addr())
		}
	}
}

func sortedPeers(counts map[string]int) []Peer {
	peers := []Peer{}
	for address, n := range counts {
		peers = append(peers, Peer{Address: address, Count: n})
	}
	slices.SortFunc(peers, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Address, b.Address))
	})
	return peers
}

// ages returns the age of the oldest and the youngest. The oldest is unknown if
// any is: it was there before.
func ages(sockets []Socket) (oldest, youngest *float64) {
	unknown := false
	for _, s := range sockets {
		if s.Age == nil {
			unknown = true
			continue
		}
		if oldest == nil || *s.Age > *oldest {
			oldest = s.Age
		}
		if youngest == nil || *s.Age < *youngest {
			youngest = s.Age
		}
	}
	if unknown {
		oldest = nil
	}
	return oldest, youngest
}

func (j *Judge) origin(g *group, names Names) Origin {
	if g.site != 0 {
		o := described(g.key.process, names.Origin(g.key.process, g.site), names)
		o.Inferred = true
		return o
	}
	if g.key.stack == 0 {
		o := Origin{Quality: stack.None, Frames: []stack.Frame{}, Reason: "the stack could not be taken"}
		switch m := &g.members[0]; {
		case m.Arrival == lifecycle.Preexisting:
			o.Reason = "opened before tracing began: no stack"
		case m.Arrival == lifecycle.Received:
			o.Reason = "its creation was not seen (passed by SCM_RIGHTS or pidfd_getfd, made by io_uring, or the event was lost)"
		}
		return o
	}
	r := j.fullest(g, names)
	if lack := g.members[0].Lack; r.Quality == stack.None && lack != event.LackNone {
		r.Reason = lack.String()
	}
	o := described(g.key.process, r, names)
	o.Inferred = g.inferred || count(g, func(m *member) bool { return j.inferred(m, g) }) > 0
	return o
}

// described is a resolved stack as the report has it.
func described(p event.ProcessKey, r stack.Origin, names Names) Origin {
	o := Origin{Quality: r.Quality, Reason: r.Reason, Frames: r.Frames}
	if o.Frames == nil {
		o.Frames = []stack.Frame{}
	}
	o.Culprit = culprit(o.Frames, p, names)
	return o
}

// culprit is the index of the first frame of the program's own code.
func culprit(frames []stack.Frame, p event.ProcessKey, names Names) *int {
	exe := ""
	if e := names.Process(p).Exe; e != nil {
		exe = *e
	}
	if i := stack.Culprit(frames, exe); i >= 0 {
		return &i
	}
	return nil
}

// fullest is the most that any of the stacks of a group tells: they are of one
// origin, but not all may be complete.
func (j *Judge) fullest(g *group, names Names) stack.Origin {
	made := j.madeOn(g)
	best := names.Origin(g.key.process, made)
	tried := map[uint64]bool{made: true}
	for i := range g.members {
		id := g.members[i].Stack
		if best.Quality == stack.Complete || len(tried) > maxTried {
			break
		}
		if id == 0 || tried[id] {
			continue
		}
		tried[id] = true
		if o := names.Origin(g.key.process, id); o.Quality == stack.Complete || best.Quality == stack.None {
			best = o
		}
	}
	return best
}

// maxTried bounds the stacks of one group that are resolved.
const maxTried = 64
