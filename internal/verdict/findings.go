package verdict

import (
	"cmp"
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
	rose     *series // of them those that accuse by their growth; nil if none do
	open     int     // how many sockets of its origin are, of all classes and of none
	inferred bool    // some have no stack of their own
	rivals   int     // other origins that could be meant
}

// lesser counts the members that were made when only a lesser tier of stacks was
// there, see Better.
func (j *Judge) lesser(g *group, names Names) int {
	return count(g, func(m *member) bool { return m.Lack <= event.LackEarly && j.inferred(m, g, names) })
}

// Findings returns what the last look found, the gravest first.
func (j *Judge) Findings(t *lifecycle.Table, names Names) []Finding {
	groups := j.accused()
	grown := j.grown(t)
	for key, members := range grown.members {
		if key.stack != 0 {
			j.addGrown(groups, key, members)
		}
	}
	j.joinGrown(groups, grown)
	ended := j.leftByEnded()
	alone, apart := j.addEnded(groups, ended)
	young := append(j.young(groups), alone...)
	j.joinNameless(groups)
	j.join(groups, t)
	j.joinYoung(groups, young)
	// Last, for to the others they would be one more line that they may be of.
	j.addApart(groups, apart)

	findings := []Finding{}
	open := j.openBy(ended)
	for _, g := range groups {
		g.open = open[g.key.originKey]
		f := j.finding(g, names)
		f.AcceptedFrom = j.acceptedFrom(t, g, names)
		f.Threads = threads(t, g, f.Process.Comm)
		findings = append(findings, f)
	}
	slices.SortFunc(findings, gravest)
	return findings
}

// openBy counts the sockets that are open, and of ended processes those left behind,
// by who made them.
func (j *Judge) openBy(ended map[groupKey][]member) map[originKey]int {
	open := map[originKey]int{}
	for key, n := range j.others {
		open[key.originKey] += n.live
	}
	for _, all := range []map[groupKey][]member{j.members, ended} {
		for key, members := range all {
			open[key.originKey] += len(members)
		}
	}
	return open
}

// addGrown adds the sockets of an origin that grows. Those that another rule put
// into the same class are of one finding with them.
func (j *Judge) addGrown(groups map[groupKey]*group, key groupKey, members []member) {
	to := key.in(members[0].cond.class)
	g := groups[to]
	if g == nil {
		groups[to] = &group{key: to, members: members, series: j.groups[key], rose: j.groups[key]}
		return
	}
	g.members = append(g.members, members...)
	g.series = j.groups[key].plus(g.series)
	g.rose = j.groups[key]
}

// in is the group of the same sockets in another class.
func (k groupKey) in(c Class) groupKey {
	k.class, k.arrival = c, lifecycle.Created
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

// gravest orders findings by confidence, whether they name a line, count, and then
// so that the order is the same every time.
func gravest(a, b Finding) int {
	rank := map[Confidence]int{High: 0, Medium: 1, Low: 2}
	return cmp.Or(
		cmp.Compare(rank[a.Confidence], rank[b.Confidence]),
		cmp.Compare(nameless(&a), nameless(&b)),
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(a.Process.PID, b.Process.PID),
		cmp.Compare(a.Class, b.Class),
		cmp.Compare(a.Sockets[0].Inode, b.Sockets[0].Inode),
	)
}

// nameless is 1 for a finding that names no line, else 0.
func nameless(f *Finding) int {
	if f.Origin.Culprit != nil || f.RequestedAt != nil && f.RequestedAt.Culprit != nil {
		return 0
	}
	return 1
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
	if g.key.stack == 0 {
		o := Origin{Quality: stack.None, Frames: []stack.Frame{}, Reason: "the stack could not be taken"}
		switch m := &g.members[0]; {
		case j.Stackless:
			o.Reason = "no stacks are taken (--stacks off)"
		case g.rose != nil: // made while tracing, whatever was there before
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
	o.Inferred = g.inferred || count(g, func(m *member) bool { return j.inferred(m, g, names) }) > 0
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
