package report

import (
	"cmp"
	"io"
	"slices"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/verdict"
)

// SnapshotSchema names the shape of Snapshot in JSON.
const SnapshotSchema = "sockleak.snapshot/v1"

// Snapshot is what is open at one moment: no history, no origins. Its JSON is
// documented in docs/report.md. As in a report, a nil pointer is unknown.
type Snapshot struct {
	Schema string    `json:"schema"`
	Time   time.Time `json:"time"`
	// BootID names the boot of the machine, as /proc/sys/kernel/random/boot_id:
	// inode and process numbers mean nothing in another.
	BootID  string         `json:"boot_id"`
	Scope   string         `json:"scope"` // in words: "pid 4242", "the whole system"
	Kernel  string         `json:"kernel"`
	Version string         `json:"version"`
	Totals  SnapshotTotals `json:"totals"`
	Groups  []Group        `json:"groups"` // the largest first
}

// SnapshotTotals counts what is open. A socket that many descriptors refer to
// is one socket, and a descriptor table that many processes share is counted
// once.
type SnapshotTotals struct {
	Sockets     int `json:"sockets"`
	Descriptors int `json:"descriptors"`
	Processes   int `json:"processes"`
	// Closed is how many are TCP sockets in CLOSE, which ss(8) doesn't list.
	Closed int `json:"tcp_close"`
}

// Holding is a process that holds sockets.
type Holding struct {
	PID uint32 `json:"pid"`
	// Start is when it started, in ns of CLOCK_BOOTTIME: with PID it names the
	// process as long as the machine runs.
	Start uint64  `json:"start_boot_ns"`
	Comm  string  `json:"comm"`
	Exe   *string `json:"exe"`
	// Container is the id of the container it runs in; empty if it is in none.
	Container string `json:"container,omitempty"`
}

// Group is the sockets of one kind in one state that one process holds.
type Group struct {
	Process  Holding `json:"process"`
	NetID    string  `json:"netid"` // as ss(8) writes it
	Family   string  `json:"family"`
	Type     string  `json:"type"`
	Protocol string  `json:"protocol"`
	State    string  `json:"state"`
	Count    int     `json:"count"` // sockets
	// Peers are the remote addresses, Locals the local ones of sockets that
	// have no remote one: listeners, datagram sockets. Most frequent first.
	Peers  []verdict.Peer `json:"peers"`
	Locals []verdict.Peer `json:"locals"`
	// RecvQ and SendQ are sums, in bytes; for LISTEN the connections that
	// wait to be accepted, and the limits.
	RecvQ *uint64 `json:"recv_q_total"`
	SendQ *uint64 `json:"send_q_total"`
	// Unacked is the part of SendQ that was sent.
	Unacked *uint64 `json:"unacked_total"`
	// PeerGone is how many AF_UNIX sockets have a peer that was closed.
	PeerGone *int `json:"peer_gone"`
	// OldestRx is how many seconds ago the socket that has been silent for
	// longest last received data.
	OldestRx *float64 `json:"oldest_last_rx_s"`
	// NotWaitedOn is how many have no thread blocked on them and no poll or
	// epoll watching.
	NotWaitedOn *int `json:"not_waited_on"`
	// Past is what TCP sockets in CLOSE were before; nil for all others.
	Past   *Past    `json:"past"`
	FDs    string   `json:"fds"` // ranges: "7-14,20"
	Inodes []uint64 `json:"inodes"`
}

// Past counts TCP sockets in CLOSE by what they were before. Their sum is the
// group's count.
type Past struct {
	Unused  int `json:"unused"`  // no connect was begun
	Failed  int `json:"failed"`  // a connect was begun and never completed
	Ended   int `json:"ended"`   // were connected once
	Unknown int `json:"unknown"` // the kernel could not tell
}

// SnapshotInfo is what a snapshot says about itself.
type SnapshotInfo struct {
	Time    time.Time
	BootID  string
	Scope   string
	Kernel  string
	Version string
	// Programs has what is known of the processes.
	Programs map[event.ProcessKey]Program
}

// Program is what a row doesn't tell of its process. Empty is unknown, or none.
type Program struct {
	Exe       string
	Container string
}

// NewSnapshot groups the rows by process, kind of socket and state, and sorts
// the groups by count. A socket held by several processes is in a group of
// each, and once in the totals. Rows that aren't sockets are left out.
func NewSnapshot(rows []event.Row, info SnapshotInfo) *Snapshot {
	s := &Snapshot{
		Schema: SnapshotSchema, Time: info.Time, BootID: info.BootID, Scope: info.Scope,
		Kernel: info.Kernel, Version: info.Version, Groups: []Group{},
	}
	type descriptor struct {
		table uint64
		fd    int32
	}
	sockets := map[uint64]bool{} // by inode: is it TCP in CLOSE?
	descriptors := map[descriptor]bool{}
	processes := map[event.ProcessKey]bool{}
	gathers := map[groupKey]*gather{}
	for i := range rows {
		r := &rows[i]
		if r.Inode == 0 {
			continue
		}
		k := keyOf(r)
		sockets[r.Inode] = k.state == "CLOSE"
		descriptors[descriptor{r.Table, r.FD}] = true
		processes[k.process] = true
		g := gathers[k]
		if g == nil {
			g = newGather(k, info.holding(r))
			gathers[k] = g
		}
		g.add(r)
	}
	for _, g := range gathers {
		s.Groups = append(s.Groups, g.finish())
	}
	slices.SortFunc(s.Groups, compareGroups)
	s.Totals = SnapshotTotals{Sockets: len(sockets), Descriptors: len(descriptors), Processes: len(processes)}
	for _, closed := range sockets {
		if closed {
			s.Totals.Closed++
		}
	}
	return s
}

// JSON writes the snapshot as one indented object and a newline. An error of w
// is returned as it is.
func (s *Snapshot) JSON(w io.Writer) error { return encode(w, s, "  ") }

type groupKey struct {
	process               event.ProcessKey
	family, typ, protocol uint16
	state                 string
}

func keyOf(r *event.Row) groupKey {
	return groupKey{
		process: event.ProcessKey{PID: r.PID, Start: r.Start},
		family:  r.Sock.Family, typ: r.Sock.Type, protocol: r.Sock.Protocol,
		state: event.StateName(r.Sock),
	}
}

func compareGroups(a, b Group) int {
	return cmp.Or(
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(a.Process.PID, b.Process.PID),
		cmp.Compare(a.NetID, b.NetID),
		cmp.Compare(a.Family, b.Family),
		cmp.Compare(a.Type, b.Type),
		cmp.Compare(a.State, b.State),
		slices.Compare(a.Inodes, b.Inodes),
	)
}

// gather is a group while its rows come in.
type gather struct {
	group         Group
	inodes        map[uint64]bool
	fds           []int32
	peers, locals map[string]int
}

func newGather(k groupKey, h Holding) *gather {
	return &gather{
		group: Group{
			Process:  h,
			NetID:    event.NetID(event.Sock{Family: k.family, Type: k.typ, Protocol: k.protocol}),
			Family:   event.FamilyName(k.family),
			Type:     event.TypeName(k.typ),
			Protocol: event.ProtocolName(k.family, k.protocol),
			State:    k.state,
		},
		inodes: map[uint64]bool{},
		peers:  map[string]int{},
		locals: map[string]int{},
	}
}

// holding describes the process of a row.
func (i *SnapshotInfo) holding(r *event.Row) Holding {
	h := Holding{PID: r.PID, Start: r.Start, Comm: event.Comm(&r.Comm)}
	p := i.Programs[event.ProcessKey{PID: r.PID, Start: r.Start}]
	if h.Container = p.Container; p.Exe != "" {
		h.Exe = &p.Exe
	}
	return h
}

// remote and local are the addresses of a socket, empty if it has none.
func remote(r *event.Row) string {
	if r.Sock.Remote.IsValid() {
		return r.Sock.Remote.String()
	}
	return r.Facts.UnixNames().Remote
}

func local(r *event.Row) string {
	if r.Sock.Local.IsValid() {
		return r.Sock.Local.String()
	}
	return r.Facts.UnixNames().Local
}

// add counts a descriptor, and its socket if this is the group's first
// descriptor of it.
func (g *gather) add(r *event.Row) {
	g.fds = append(g.fds, r.FD)
	if g.inodes[r.Inode] {
		return
	}
	g.inodes[r.Inode] = true
	if peer := remote(r); peer != "" {
		g.peers[peer]++
	} else if name := local(r); name != "" {
		g.locals[name]++
	}
	f := &r.Facts
	if f.Known&event.KnownQueues != 0 {
		g.group.RecvQ = plus(g.group.RecvQ, uint64(f.RecvQ))
		g.group.SendQ = plus(g.group.SendQ, uint64(f.SendQ))
	}
	if f.Known&event.KnownDelivery != 0 {
		g.group.Unacked = plus(g.group.Unacked, uint64(f.Unacked))
	}
	if f.Known&event.KnownPeer != 0 {
		g.group.PeerGone = plus(g.group.PeerGone, one(f.PeerGone))
	}
	if f.Known&event.KnownActivity != 0 {
		rx := float64(f.LastRx) / 1e9
		if g.group.OldestRx == nil || *g.group.OldestRx < rx {
			g.group.OldestRx = &rx
		}
	}
	if f.Known&event.KnownWaiters != 0 {
		g.group.NotWaitedOn = plus(g.group.NotWaitedOn, one(!f.Waiters))
	}
	if g.group.State == "CLOSE" {
		g.past(f)
	}
}

func (g *gather) past(f *event.Facts) {
	if g.group.Past == nil {
		g.group.Past = &Past{}
	}
	switch p := g.group.Past; {
	case f.Known&event.KnownHistory == 0:
		p.Unknown++
	case f.WasEstablished:
		p.Ended++
	case f.Begun:
		p.Failed++
	default:
		p.Unused++
	}
}

func (g *gather) finish() Group {
	for inode := range g.inodes {
		g.group.Inodes = append(g.group.Inodes, inode)
	}
	slices.Sort(g.group.Inodes)
	g.group.Count = len(g.group.Inodes)
	slices.Sort(g.fds)
	g.group.FDs, _ = ranges(slices.Compact(g.fds), 0)
	g.group.Peers = frequent(g.peers)
	g.group.Locals = frequent(g.locals)
	return g.group
}

// plus adds to a sum that is unknown until something is added.
func plus[N int | uint64](sum *N, n N) *N {
	if sum != nil {
		n += *sum
	}
	return &n
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

func frequent(counts map[string]int) []verdict.Peer {
	peers := make([]verdict.Peer, 0, len(counts))
	for a, n := range counts {
		peers = append(peers, verdict.Peer{Address: a, Count: n})
	}
	slices.SortFunc(peers, func(a, b verdict.Peer) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Address, b.Address))
	})
	return peers
}
