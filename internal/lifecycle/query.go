package lifecycle

import (
	"cmp"
	"iter"
	"slices"

	"sockleak/internal/event"
)

// Totals counts sockets.
type Totals struct {
	// Opened is the number whose creation was seen, and Closed of all that
	// were known and lost their last descriptor.
	Opened, Closed uint64
	// Live is the number that have a descriptor. Of those, Preexisting were
	// there before tracing began, and Received came in unseen, see Received.
	Live, Preexisting, Received int
	// Winding have no descriptor and are still held by the kernel, which
	// finishes the connection: at most the last 16,384 of them.
	Winding int
	// Repaired counts the descriptors that snapshots had to correct, and those
	// of sockets whose inode number was seen to be reused.
	Repaired uint64
	// Full counts sockets that were not stored because of the ceiling
	// (event.Loss.TableFull).
	Full uint64
	// Doubtful is the number of descriptor tables of which the events leave
	// open what they hold, until the next snapshot.
	Doubtful int
}

// Totals returns the counts of now. It is cheap enough for a progress line.
func (t *Table) Totals() Totals {
	doubtful := 0
	for _, f := range t.fds {
		if f.doubtful != 0 {
			doubtful++
		}
	}
	return Totals{
		Opened: t.opened, Closed: t.closed,
		Live: t.live, Preexisting: t.arrivals[Preexisting], Received: t.arrivals[Received],
		Winding:  t.winding.n,
		Repaired: t.repaired,
		Full:     t.full,
		Doubtful: doubtful,
	}
}

// Known reports whether the socket is in the table: live, winding down or
// closed a short while ago, so that it may be on its way to another process.
func (t *Table) Known(inode uint64) bool { return t.sockets[inode] != nil }

// Socket returns a socket that is in the table, nil if it isn't.
func (t *Table) Socket(inode uint64) *Socket { return t.sockets[inode] }

// Born returns a socket that is in the table and was made at that time, in ns, nil
// if there is none: an inode number is given to others later.
func (t *Table) Born(inode, birth uint64) *Socket {
	if s := t.sockets[inode]; s != nil && birth != 0 && s.Birth == birth {
		return s
	}
	return nil
}

// Holder is a process that has a descriptor of a socket.
type Holder struct {
	Process event.ProcessKey
	FD      int32
	// Since is when the descriptor was installed, or first shown by a
	// snapshot, in ns of CLOCK_MONOTONIC.
	Since uint64
	Via   Via
	// SurvivedExec: the descriptor was open when the process ran another
	// program, and stayed open.
	SurvivedExec bool
	// CloseOnExec is what a snapshot last said, if CloseOnExecKnown.
	CloseOnExec, CloseOnExecKnown bool
}

// holders appends a holder for every process that uses the table.
func (f *fdTable) holders(to []Holder, fd int32, sl *slot) []Holder {
	for i := range f.links {
		to = append(to, Holder{
			Process: f.links[i].p.key, FD: fd, Since: sl.since, Via: sl.via,
			SurvivedExec:     sl.flags&survivedExec != 0,
			CloseOnExec:      sl.flags&closeOnExec != 0,
			CloseOnExecKnown: sl.flags&knownCloexec != 0,
		})
	}
	return to
}

// Sockets yields every live socket with its holders, by PID and descriptor.
// The sockets come in no particular order, and the holders are valid until the
// next is yielded.
func (t *Table) Sockets() iter.Seq2[*Socket, []Holder] {
	return func(yield func(*Socket, []Holder) bool) {
		g := gathering{yield: yield}
		for _, f := range t.fds {
			if !f.each(g.visit) {
				return
			}
		}
	}
}

// OwnSockets is Sockets for those of one process that no other has a descriptor of.
// It looks at the descriptors of that process alone, however many others there are.
func (t *Table) OwnSockets(key event.ProcessKey) iter.Seq2[*Socket, []Holder] {
	return func(yield func(*Socket, []Holder) bool) {
		p := t.processes[key]
		if p == nil {
			return
		}
		g := gathering{yield: yield}
		for _, d := range p.own() {
			if !g.visit(d.table, d.fd, d.slot) {
				return
			}
		}
	}
}

// gathering yields sockets when all their descriptors were visited.
type gathering struct {
	yield  func(*Socket, []Holder) bool
	one    []Holder // reused
	shared map[*Socket]*several
}

// several are the holders of a socket that has more than one descriptor.
type several struct {
	holders []Holder
	refs    int32 // visited
}

func (g *gathering) visit(f *fdTable, fd int32, sl *slot) bool {
	s := sl.sock
	if s.refs == 1 {
		g.one = f.holders(g.one[:0], fd, sl)
		return g.yield(s, order(g.one))
	}
	m := g.shared[s]
	if m == nil {
		if g.shared == nil {
			g.shared = make(map[*Socket]*several)
		}
		m = new(several)
		g.shared[s] = m
	}
	m.holders = f.holders(m.holders, fd, sl)
	m.refs++
	if m.refs < s.refs {
		return true
	}
	delete(g.shared, s)
	return g.yield(s, order(m.holders))
}

// order sorts holders by PID, then descriptor.
func order(h []Holder) []Holder {
	slices.SortFunc(h, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(a.Process.PID, b.Process.PID),
			cmp.Compare(a.Process.Start, b.Process.Start), cmp.Compare(a.FD, b.FD))
	})
	return h
}

// Winding yields the sockets that are winding down, the first closed first.
func (t *Table) Winding() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		for s := t.winding.head; s != nil; s = s.next {
			if !yield(s) {
				return
			}
		}
	}
}

// Process is what is known of a process that uses sockets.
type Process struct {
	Key  event.ProcessKey
	Comm string // of its main thread, or of a thread while that isn't known
	// Descriptors is how many of its descriptors refer to sockets.
	Descriptors int
	// Opened is how many sockets it was seen to create since it was first
	// noted. A process that is idle and has none is forgotten at a snapshot.
	Opened uint64
}

// Processes yields the processes, in no particular order.
func (t *Table) Processes() iter.Seq[Process] {
	return func(yield func(Process) bool) {
		for _, p := range t.processes {
			if !yield(p.export()) {
				return
			}
		}
	}
}

// Process returns what is known of one process, and whether anything is.
func (t *Table) Process(key event.ProcessKey) (Process, bool) {
	p := t.processes[key]
	if p == nil {
		return Process{}, false
	}
	return p.export(), true
}

func (p *process) export() Process {
	n := 0
	for _, f := range p.tables {
		n += f.used
	}
	return Process{Key: p.key, Comm: event.Comm(&p.comm), Descriptors: n, Opened: p.opened}
}
