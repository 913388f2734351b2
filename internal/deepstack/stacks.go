package deepstack

import (
	"container/list"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/reporter/samples"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// maxStacks is the number of stacks that are held by default.
const maxStacks = 1 << 15

// stacks holds the stacks that came, by the number that the kernel side gave
// them. It is the profiler's reporter.
type stacks struct {
	// current is the number of the stack that the profiler is about to
	// report. It belongs to the goroutine that handles traces.
	current uint64
	known   *ebpf.Map // the kernel side's
	files   *files
	max     int
	seed    maphash.Seed

	mu      sync.Mutex
	byID    map[uint64]*list.Element // of *held
	recent  *list.List               // the last seen first
	content map[uint64][]*trace      // by the hash of its frames
}

// held is a stack under its number.
type held struct {
	id    uint64
	hash  uint64
	trace *trace
}

// trace is the frames of a stack, shared by all that look the same: those of a
// server that forks for every connection, say.
type trace struct {
	frames libpf.Frames
	refs   int
	origin *stack.Origin // nil until it is asked for
}

func newStacks(most int) *stacks {
	if most <= 0 {
		most = maxStacks
	}
	return &stacks{
		files: newFiles(), max: most, seed: maphash.MakeSeed(),
		byID: map[uint64]*list.Element{}, recent: list.New(), content: map[uint64][]*trace{},
	}
}

// ReportTraceEvent implements the profiler's reporter.TraceReporter.
func (s *stacks) ReportTraceEvent(t *libpf.Trace, _ *samples.TraceEventMeta) error {
	gone := s.keep(s.current, t.Frames)
	// Only now it can be relied on: the stack might have been lost. One that came before
	// the profiler had noted the file of a frame is to come again: it tells the kernel
	// side of code first.
	if !slices.ContainsFunc(t.Frames, lacksFile) {
		if err := s.known.Put(s.current, now()); err != nil {
			return fmt.Errorf("tell the kernel side of a stack: %w", err)
		}
	}
	if gone != 0 {
		if err := s.known.Delete(gone); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("tell the kernel side of a forgotten stack: %w", err)
		}
	}
	return nil
}

// keep stores a stack and returns the number of one that it pushed out, or zero.
func (s *stacks) keep(id uint64, frames libpf.Frames) (gone uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil {
		h := e.Value.(*held)
		if slices.Equal(h.trace.frames, frames) {
			s.recent.MoveToFront(e)
			return 0
		}
		s.remove(e) // the same numbers stand for other functions now
	}
	hash := s.hash(frames)
	t := s.same(hash, frames)
	t.refs++
	s.byID[id] = s.recent.PushFront(&held{id, hash, t})
	if len(s.byID) <= s.max {
		return 0
	}
	last := s.recent.Back()
	gone = last.Value.(*held).id
	s.remove(last)
	return gone
}

// same returns the trace with these frames, a new one if there is none.
func (s *stacks) same(hash uint64, frames libpf.Frames) *trace {
	for _, t := range s.content[hash] {
		if slices.Equal(t.frames, frames) {
			return t
		}
	}
	t := &trace{frames: frames}
	s.content[hash] = append(s.content[hash], t)
	return t
}

func (s *stacks) remove(e *list.Element) {
	h := s.recent.Remove(e).(*held)
	delete(s.byID, h.id)
	if h.trace.refs--; h.trace.refs > 0 {
		return
	}
	rest := slices.DeleteFunc(s.content[h.hash], func(t *trace) bool { return t == h.trace })
	if s.content[h.hash] = rest; len(rest) == 0 {
		delete(s.content, h.hash)
	}
}

// hash of the frames: they are interned, so this looks at pointers only.
func (s *stacks) hash(frames libpf.Frames) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, f := range frames {
		maphash.WriteComparable(&h, f)
	}
	return h.Sum64()
}

// Has says whether a stack is here.
func (t *Tier) Has(id uint64) bool {
	t.stacks.mu.Lock()
	defer t.stacks.mu.Unlock()
	return t.stacks.byID[id] != nil
}

// Resolve returns the frames of a stack by the number in its Birth. The answer
// is kept as long as the stack; its frames are to be read, not to be changed.
// A stack arrives some milliseconds after its first Birth: until then, and if it
// was lost, the origin says so.
func (t *Tier) Resolve(id uint64) stack.Origin {
	if id == 0 {
		return stack.Origin{Quality: stack.None, Reason: event.LackUnknown.String()}
	}
	s := t.stacks
	s.mu.Lock()
	e := s.byID[id]
	if e == nil {
		s.mu.Unlock()
		return stack.Origin{Quality: stack.None, Reason: event.LackLost.String()}
	}
	tr := e.Value.(*held).trace
	origin := tr.origin
	s.mu.Unlock()
	if origin == nil {
		// Reading symbols takes its time, and more stacks come meanwhile.
		o := s.files.origin(tr.frames)
		s.mu.Lock()
		tr.origin, origin = &o, &o
		s.mu.Unlock()
	}
	return *origin
}

func (s *stacks) close() error { return s.files.close() }
