package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/verdict"
)

// DiffSchema names the shape of Diff in JSON.
const DiffSchema = "sockleak.diff/v1"

// Errors of ReadSnapshot and NewDiff, by why a snapshot is no baseline.
var (
	ErrNoSnapshot   = errors.New("not a snapshot of sockleak")
	ErrOtherVersion = errors.New("a snapshot of another version of sockleak")
	ErrOtherBoot    = errors.New("a snapshot from before the machine was started, or of another machine")
	ErrOtherScope   = errors.New("a snapshot of something else")
)

// Everything is the scope of a snapshot that left out nothing.
const Everything = "the whole system"

// Diff is what is open at one moment and was not at an earlier one, the
// baseline. Its JSON is documented in docs/report.md.
type Diff struct {
	Schema  string      `json:"schema"`
	Time    time.Time   `json:"time"`
	Since   time.Time   `json:"since"` // of the baseline
	Scope   string      `json:"scope"`
	Kernel  string      `json:"kernel"`
	Version string      `json:"version"`
	Totals  DiffTotals  `json:"totals"`
	Groups  []DiffGroup `json:"groups"` // the largest first
}

// DiffTotals counts sockets by process: one that two processes hold is two.
type DiffTotals struct {
	New  int `json:"new"`  // open now and not then
	Gone int `json:"gone"` // open then and not now
	Kept int `json:"kept"` // open then and now
}

// DiffGroup is the new sockets of one process, kind and state with one peer.
type DiffGroup struct {
	Process  Holding `json:"process"`
	NetID    string  `json:"netid"`
	Family   string  `json:"family"`
	Type     string  `json:"type"`
	Protocol string  `json:"protocol"`
	State    string  `json:"state"`
	// Peer is the remote address; without its port for a connection that was
	// accepted, because each has another. Nil: none.
	Peer *string `json:"peer"`
	// Locals are the local addresses of sockets that have no remote one, and of
	// connections that were accepted. Most frequent first.
	Locals []verdict.Peer `json:"locals"`
	Count  int            `json:"count"`
	FDs    string         `json:"fds"` // ranges: "7-14,20"
	Inodes []uint64       `json:"inodes"`
}

// ReadSnapshot reads what Snapshot.JSON has written. Its errors match
// ErrNoSnapshot and ErrOtherVersion.
func ReadSnapshot(r io.Reader) (*Snapshot, error) {
	var head struct {
		Schema  string `json:"schema"`
		Version string `json:"version"`
		BootID  string `json:"boot_id"`
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSnapshot, err)
	}
	switch {
	case !strings.HasPrefix(head.Schema, "sockleak.snapshot/"):
		return nil, fmt.Errorf("%w: its schema is %q", ErrNoSnapshot, head.Schema)
	case head.Schema != SnapshotSchema, head.BootID == "":
		return nil, fmt.Errorf("%w: %s", ErrOtherVersion, head.Version)
	}
	s := &Snapshot{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOtherVersion, err)
	}
	return s, nil
}

// held is a socket in a process's hands.
type held struct {
	process event.ProcessKey
	inode   uint64
}

// NewDiff compares rows with a baseline of the same boot, which must be of the
// same scope or of everything. Its errors match ErrOtherBoot and ErrOtherScope.
func NewDiff(base *Snapshot, rows []event.Row, info SnapshotInfo) (*Diff, error) {
	switch {
	case base.BootID != info.BootID:
		return nil, ErrOtherBoot
	case base.Scope != info.Scope && base.Scope != Everything:
		return nil, fmt.Errorf("%w: %s", ErrOtherScope, base.Scope)
	}
	d := &Diff{
		Schema: DiffSchema, Time: info.Time, Since: base.Time, Scope: info.Scope,
		Kernel: info.Kernel, Version: info.Version, Groups: []DiffGroup{},
	}
	then, now := base.held(info.Scope, rows), map[held]bool{}
	listeners := listenersOf(rows)
	gathers := map[diffKey]*diffGather{}
	for i := range rows {
		r := &rows[i]
		if r.Inode == 0 {
			continue
		}
		h := heldBy(r)
		now[h] = true
		if then[h] {
			continue
		}
		k, name := diffKeyOf(r, listeners)
		if gathers[k] == nil {
			gathers[k] = &diffGather{process: info.holding(r), inodes: map[uint64]bool{}, locals: map[string]int{}}
		}
		gathers[k].add(r, name)
	}
	d.Totals = compare(then, now)
	for k, g := range gathers {
		d.Groups = append(d.Groups, g.finish(k))
	}
	slices.SortFunc(d.Groups, compareDiffGroups)
	return d, nil
}

func compare(then, now map[held]bool) DiffTotals {
	var n DiffTotals
	for h := range now {
		if then[h] {
			n.Kept++
		}
	}
	n.New, n.Gone = len(now)-n.Kept, len(then)-n.Kept
	return n
}

// diffKeyOf returns the group of a row, and its local address if that is worth
// telling.
func diffKeyOf(r *event.Row, listeners map[listener]bool) (k diffKey, name string) {
	k = diffKey{keyOf(r), remote(r)}
	switch {
	case k.peer == "":
		name = local(r)
	case r.Sock.Remote.IsValid() && listeners[listenerOf(r)]:
		k.peer, name = r.Sock.Remote.Addr().String(), local(r)
	}
	return k, name
}

func heldBy(r *event.Row) held {
	return held{event.ProcessKey{PID: r.PID, Start: r.Start}, r.Inode}
}

// held returns what was open then, of the processes that scope means.
func (s *Snapshot) held(scope string, rows []event.Row) map[held]bool {
	chosen := map[event.ProcessKey]bool{}
	for i := range rows {
		chosen[heldBy(&rows[i]).process] = true
	}
	all := map[held]bool{}
	for i := range s.Groups {
		g := &s.Groups[i]
		key := event.ProcessKey{PID: g.Process.PID, Start: g.Process.Start}
		// Which processes a narrower scope would have meant then is known of
		// those that it means now.
		if s.Scope != scope && !chosen[key] {
			continue
		}
		for _, inode := range g.Inodes {
			all[held{key, inode}] = true
		}
	}
	return all
}

// listener is a local port in a network namespace.
type listener struct {
	netns uint32
	port  uint16
}

func listenerOf(r *event.Row) listener { return listener{r.Facts.NetNS, r.Sock.Local.Port()} }

// listenersOf returns where TCP connections are accepted.
func listenersOf(rows []event.Row) map[listener]bool {
	found := map[listener]bool{}
	for i := range rows {
		if r := &rows[i]; r.Sock.State == event.StateListen && r.Sock.Local.IsValid() {
			found[listenerOf(r)] = true
		}
	}
	return found
}

type diffKey struct {
	groupKey
	peer string
}

// diffGather is a group while its rows come in.
type diffGather struct {
	process Holding
	inodes  map[uint64]bool
	fds     []int32
	locals  map[string]int
}

// add counts a descriptor, and its socket if this is the group's first
// descriptor of it; name is a local address worth telling.
func (g *diffGather) add(r *event.Row, name string) {
	g.fds = append(g.fds, r.FD)
	if g.inodes[r.Inode] {
		return
	}
	g.inodes[r.Inode] = true
	if name != "" {
		g.locals[name]++
	}
}

func (g *diffGather) finish(k diffKey) DiffGroup {
	d := DiffGroup{
		Process:  g.process,
		NetID:    event.NetID(event.Sock{Family: k.family, Type: k.typ, Protocol: k.protocol}),
		Family:   event.FamilyName(k.family),
		Type:     event.TypeName(k.typ),
		Protocol: event.ProtocolName(k.family, k.protocol),
		State:    k.state,
		Locals:   frequent(g.locals),
		Count:    len(g.inodes),
		Inodes:   slices.Sorted(maps.Keys(g.inodes)),
	}
	if k.peer != "" {
		d.Peer = &k.peer
	}
	slices.Sort(g.fds)
	d.FDs, _ = ranges(slices.Compact(g.fds), 0)
	return d
}

func compareDiffGroups(a, b DiffGroup) int {
	return cmp.Or(
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(a.Process.PID, b.Process.PID),
		cmp.Compare(a.NetID, b.NetID),
		cmp.Compare(a.State, b.State),
		slices.Compare(a.Inodes, b.Inodes),
	)
}

// JSON writes the diff as one indented object and a newline. An error of w is
// returned as it is.
func (d *Diff) JSON(w io.Writer) error { return encode(w, d, "  ") }
