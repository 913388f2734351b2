// Package unwind walks stacks by unwind tables (.eh_frame and what stands for it)
// from a copy of the registers and of a piece of the stack that the kernel took
// where a socket was made. It needs no frame pointers, no debug information, and
// no process: one that lived for a millisecond is walked as well, as long as its
// files are there.
//
// The tables are read by the OpenTelemetry eBPF profiler's packages, which only
// this package and deepstack know.
package unwind

import (
	"container/list"

	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

const (
	// maxStacks is the number of stacks that are held by default. Those that
	// were not copied again for the longest time go first.
	maxStacks = 1 << 15
	// maxCopies bounds the copies whose events have not come.
	maxCopies = 1 << 12
)

// Processes knows where processes have their code.
type Processes interface {
	// Mappings returns the executable mappings of a process, which may be
	// gone.
	Mappings(event.ProcessKey) (*symbol.Process, error)
	// Refresh reads them again and says whether there is something new.
	Refresh(event.ProcessKey) (*symbol.Process, bool)
}

// Kernel is what the kernel side remembers of walks, so that it needs no copy of a
// stack that was walked before.
type Kernel interface {
	PutStep(hash uint64, next uint32) error
	DropStep(hash uint64) error
}

// Stacks holds the stacks that were walked. It belongs to one goroutine.
type Stacks struct {
	symbols   *symbol.Symbolizer
	tables    *tables
	processes Processes
	kernel    Kernel
	max       int
	byID      map[uint64]*list.Element // of *held
	recent    *list.List               // the last copied first
	traces    map[string]*trace        // by content
	copies    map[uint64]named         // by the copy's number
	order     []uint64                 // of copies, oldest first
	names     uint64                   // how often a copy was named
	key       []byte                   // reused
}

// held is a stack under its number: the hash of all that its walk depended on.
type held struct {
	id    uint64
	trace *trace
}

// named is which stack a copy was of.
type named struct {
	stack uint64
	turn  uint64 // Stacks.names then
}

// New returns Stacks that hold nothing yet.
func New(s *symbol.Symbolizer, p Processes, k Kernel) *Stacks {
	return &Stacks{
		symbols: s, tables: newTables(s), processes: p, kernel: k, max: maxStacks,
		byID: map[uint64]*list.Element{}, recent: list.New(),
		traces: map[string]*trace{}, copies: map[uint64]named{},
	}
}

// Add walks a copy, and tells the kernel side how to know the stack again.
func (s *Stacks) Add(c *stack.Copy) error {
	maps, err := s.processes.Mappings(c.Process)
	if err != nil {
		return s.hold(c.ID, c.Seed, &trace{failed: err})
	}
	w := s.walk(maps, c)
	if w.end == endUnmapped {
		if now, ok := s.processes.Refresh(c.Process); ok {
			w = s.walk(now, c)
		}
	}
	if err := s.hold(c.ID, w.hash, &trace{frames: w.frames, end: w.end, guessed: w.guessed, cut: w.cut}); err != nil {
		return err
	}
	return s.teach(w)
}

// hold keeps the stack of a copy. The kernel side is not to take the one that goes
// for known any more: it would send no copy of it, and there would be no stack.
func (s *Stacks) hold(copyID, id uint64, t *trace) error {
	gone := s.keep(id, t)
	s.name(copyID, id)
	if gone == 0 {
		return nil
	}
	return s.kernel.DropStep(gone)
}

func (s *Stacks) walk(maps *symbol.Process, c *stack.Copy) *walk {
	w := walker{tables: s.tables, maps: maps, copy: c}
	w.run()
	return &w.walk
}

// teach tells the kernel side of a walk, from its end, so that a chain that is
// there leads somewhere.
func (s *Stacks) teach(w *walk) error {
	// Another copy may have more of the stack, or its code.
	again := w.cut || w.end == endUnmapped
	if again || len(w.steps) > maxSteps {
		return nil
	}
	if err := s.kernel.PutStep(w.hash, stepEnd); err != nil {
		return err
	}
	for i := len(w.steps) - 1; i >= 0; i-- {
		if err := s.kernel.PutStep(w.steps[i].hash, w.steps[i].next); err != nil {
			return err
		}
	}
	return nil
}

// name notes which stack a copy was of.
func (s *Stacks) name(copyID, id uint64) {
	s.names++
	s.copies[copyID] = named{id, s.names}
	s.order = append(s.order, copyID)
	if len(s.order) > maxCopies {
		// One that was named again since has another place in the order.
		if oldest := s.order[0]; s.copies[oldest].turn == s.names-maxCopies {
			delete(s.copies, oldest)
		}
		s.order = s.order[1:]
	}
}

// Find returns the number of the stack that an event names by its Walk; false if
// its copy was lost.
func (s *Stacks) Find(walk uint64) (id uint64, ok bool) {
	if s.Has(walk) {
		return walk, true
	}
	of, ok := s.copies[walk]
	return of.stack, ok && s.Has(of.stack)
}

// Has says whether a stack is here.
func (s *Stacks) Has(id uint64) bool { return s.byID[id] != nil }

// Frames returns how many frames a stack has before what is inlined is told apart.
func (s *Stacks) Frames(id uint64) int {
	if e := s.byID[id]; e != nil {
		return len(e.Value.(*held).trace.frames)
	}
	return 0
}

// keep stores a stack and returns the number of one that it pushed out, or zero.
func (s *Stacks) keep(id uint64, t *trace) (gone uint64) {
	s.key = t.appendKey(s.key[:0])
	if same := s.traces[string(s.key)]; same != nil {
		t = same
	} else {
		t.key = string(s.key)
		s.traces[t.key] = t
	}
	t.refs++
	if e := s.byID[id]; e != nil {
		h := e.Value.(*held)
		s.release(h.trace)
		h.trace = t // code may have changed where it was
		s.recent.MoveToFront(e)
		return 0
	}
	s.byID[id] = s.recent.PushFront(&held{id, t})
	if len(s.byID) <= s.max {
		return 0
	}
	last := s.recent.Remove(s.recent.Back()).(*held)
	delete(s.byID, last.id)
	s.release(last.trace)
	return last.id
}

func (s *Stacks) release(t *trace) {
	if t.refs--; t.refs == 0 {
		delete(s.traces, t.key)
	}
}
