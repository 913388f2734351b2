// Package framepointer resolves the stacks that the kernel walks by frame
// pointers (bpf_get_stack), the tier that works everywhere and gives least.
//
// Such a walk has two faults. It skips the caller of a function that has no
// frame of its own, and libc's socket() has none: the very function that leaks
// would be missing, so it is put back from the word at the stack pointer. And
// where code was compiled without frame pointers, frames are missing or are
// garbage, so the origin is marked as partial.
package framepointer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

const (
	// maxStacks is the number of stacks that are held by default.
	maxStacks = 1 << 18
	// maxRecalled bounds the processes that were gone when they were looked at and
	// whose mappings are held: the event of their end may have come before, and is
	// no more told then. It has to outlast the stacks of one that come together.
	maxRecalled = 128
)

// Resolver is a stack.Resolver. It belongs to one goroutine.
type Resolver struct {
	symbols *symbol.Symbolizer
	recall  func(event.ProcessKey) []symbol.Mapping
	max     int
	stacks  map[stackKey]*trace
	procs   map[event.ProcessKey]*process
	traces  map[string]*trace  // by content
	gone    []event.ProcessKey // those of procs whose mappings were recalled, oldest first
	ended   []ended            // oldest first; their stacks go first
	refused int                // stacks that found no room
	key     []byte             // reused
}

var _ stack.Resolver = (*Resolver)(nil)

type stackKey struct {
	process event.ProcessKey
	id      uint64
}

// trace is a stack, shared by all that look the same: those of a server that
// forks for every connection, say.
type trace struct {
	key      string
	refs     int
	reason   string // why there is nothing to resolve
	frames   []symbol.Location
	caller   symbol.Location
	called   bool // caller is set
	read     bool // the word that could be the caller was read
	deeper   bool // there is more than was taken
	garbage  int  // addresses that were dropped
	resolved *stack.Origin
}

// process is what was learned of a process that lives.
type process struct {
	maps *symbol.Process
	err  error
	ids  []uint64
	// A stack often has garbage in it that no new mapping explains. Each
	// time that reading the mappings again shows nothing new, twice as many
	// such stacks are let pass before the next.
	wait, passed int
}

type ended struct {
	process event.ProcessKey
	ids     []uint64
}

// New returns a Resolver that names code with s. recall is asked for the mappings
// of a process that was gone before they could be read; it may return nil.
func New(s *symbol.Symbolizer, recall func(event.ProcessKey) []symbol.Mapping) *Resolver {
	return &Resolver{
		symbols: s,
		recall:  recall,
		max:     maxStacks,
		stacks:  map[stackKey]*trace{},
		procs:   map[event.ProcessKey]*process{},
		traces:  map[string]*trace{},
	}
}

// Capture implements stack.Resolver. It reads the mappings of a process once
// and otherwise only looks up in which of them the addresses lie.
func (r *Resolver) Capture(raw stack.Raw) {
	key := stackKey{raw.Process, raw.ID}
	if !r.room(key) {
		r.refused++
		return
	}
	p := r.process(raw.Process)
	if p.err != nil {
		r.keep(key, &trace{reason: failure(p.err)})
		if errors.Is(p.err, symbol.ErrGone) {
			// No event will tell of its end any more.
			r.Forget(raw.Process)
		}
		return
	}
	t := locate(p.maps, raw)
	if t.missed(raw) && p.passed >= p.wait {
		if r.reread(raw.Process, p) {
			t = locate(p.maps, raw)
		}
	} else if t.missed(raw) {
		p.passed++
	}
	r.keep(key, t)
}

// process returns what is known of a process, reading its mappings if they
// weren't, or if that failed for a reason that can pass.
func (r *Resolver) process(key event.ProcessKey) *process {
	p := r.procs[key]
	if p == nil {
		p = &process{}
		r.procs[key] = p
	}
	if p.maps == nil {
		p.maps, p.err = r.symbols.Capture(key)
		if errors.Is(p.err, symbol.ErrGone) {
			if p.maps = r.recalled(key); p.maps != nil {
				p.err = nil
			}
		}
	}
	return p
}

// Mappings returns what is known of a process's mappings, for other tiers.
func (r *Resolver) Mappings(key event.ProcessKey) (*symbol.Process, error) {
	p := r.process(key)
	if errors.Is(p.err, symbol.ErrGone) {
		// No event will tell of its end any more.
		r.Forget(key)
	}
	return p.maps, p.err
}

// Refresh reads the mappings of a process again, if that wasn't in vain too often,
// and says whether there is something new.
func (r *Resolver) Refresh(key event.ProcessKey) (*symbol.Process, bool) {
	p := r.process(key)
	if p.maps == nil {
		return nil, false
	}
	if p.passed < p.wait {
		p.passed++
		return nil, false
	}
	again := r.reread(key, p)
	return p.maps, again
}

// recalled returns the mappings of a process that is gone, nil if nobody knows.
func (r *Resolver) recalled(key event.ProcessKey) *symbol.Process {
	maps := r.recall(key)
	if len(maps) == 0 {
		return nil
	}
	if !slices.Contains(r.gone, key) {
		if len(r.gone) >= maxRecalled {
			r.Forget(r.gone[0])
		}
		r.gone = append(r.gone, key)
	}
	return r.symbols.Recall(key, maps)
}

// reread reads the mappings again and says whether there is something new.
func (r *Resolver) reread(key event.ProcessKey, p *process) bool {
	now, err := r.symbols.Capture(key)
	if errors.Is(err, symbol.ErrGone) {
		// It may have been on its way out when they were read.
		if now = r.recalled(key); now != nil {
			err = nil
		}
	}
	if err != nil {
		return false // the old ones still hold
	}
	if now.Same(p.maps) {
		p.wait, p.passed = max(1, 2*p.wait), 0
		closeMaps(now)
		return false
	}
	p.wait, p.passed = 0, 0
	closeMaps(p.maps)
	p.maps = now
	return true
}

// closeMaps lets go of mappings. What can fail is reading the names of generated
// code; those who ask for a name hear of it.
func closeMaps(m *symbol.Process) { _ = m.Close() }

// locate finds where in which files the addresses lie. A walk that left the
// code has gone astray: nothing after that is worth keeping.
func locate(maps *symbol.Process, raw stack.Raw) *trace {
	t := &trace{deeper: raw.Truncated, read: raw.Caller != 0}
	t.frames = make([]symbol.Location, 0, len(raw.Addresses))
	for i, addr := range raw.Addresses {
		loc, ok := maps.Locate(addr)
		if !ok {
			t.garbage, t.deeper = len(raw.Addresses)-i, false
			break
		}
		t.frames = append(t.frames, loc)
	}
	if raw.Caller != 0 && (len(raw.Addresses) < 2 || raw.Caller != raw.Addresses[1]) {
		t.caller, t.called = maps.Locate(raw.Caller)
	}
	return t
}

// missed says whether newer mappings could explain more of the stack. Small
// numbers and addresses beyond user space are garbage whatever is mapped.
func (t *trace) missed(raw stack.Raw) bool {
	if t.garbage == 0 {
		return false
	}
	addr := raw.Addresses[len(t.frames)]
	return addr >= 1<<16 && addr < 1<<56
}

// keep stores a trace under a key, sharing it with those that look the same.
func (r *Resolver) keep(key stackKey, t *trace) {
	r.key = t.appendKey(r.key[:0])
	if same := r.traces[string(r.key)]; same != nil {
		t = same
	} else {
		t.key = string(r.key)
		r.traces[t.key] = t
	}
	t.refs++
	if old := r.stacks[key]; old != nil {
		r.release(old)
	} else if p := r.procs[key.process]; p != nil {
		p.ids = append(p.ids, key.id)
	}
	r.stacks[key] = t
}

func (r *Resolver) release(t *trace) {
	if t.refs--; t.refs == 0 {
		delete(r.traces, t.key)
	}
}

func (t *trace) appendKey(b []byte) []byte {
	flags := byte(0)
	for i, set := range []bool{t.called, t.read, t.deeper} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(t.garbage))
	b = binary.AppendUvarint(b, uint64(len(t.frames)))
	b = t.caller.AppendKey(b)
	for _, l := range t.frames {
		b = l.AppendKey(b)
	}
	return append(b, t.reason...)
}

// room makes place for one more stack at the cost of those of processes that
// ended, the first to end first.
func (r *Resolver) room(key stackKey) bool {
	for len(r.stacks) >= r.max && r.stacks[key] == nil {
		if len(r.ended) == 0 {
			return false
		}
		for _, id := range r.ended[0].ids {
			k := stackKey{r.ended[0].process, id}
			if t := r.stacks[k]; t != nil {
				r.release(t)
				delete(r.stacks, k)
			}
		}
		r.ended[0] = ended{}
		r.ended = r.ended[1:]
	}
	return true
}

// Exec implements stack.Resolver.
func (r *Resolver) Exec(key event.ProcessKey) {
	if p := r.procs[key]; p != nil && p.maps != nil {
		closeMaps(p.maps)
		*p = process{ids: p.ids}
	}
}

// Forget implements stack.Resolver.
func (r *Resolver) Forget(key event.ProcessKey) {
	p := r.procs[key]
	if p == nil {
		return
	}
	r.Exec(key)
	delete(r.procs, key)
	r.gone = slices.DeleteFunc(r.gone, func(o event.ProcessKey) bool { return o == key })
	if len(p.ids) > 0 {
		r.ended = append(r.ended, ended{key, p.ids})
	}
}

func failure(err error) string {
	if errors.Is(err, symbol.ErrGone) {
		return "the process ended before its memory map could be read"
	}
	return fmt.Sprintf("its memory map could not be read: %v", err)
}
