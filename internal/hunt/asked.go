package hunt

import (
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"slices"
	"time"

	"sockleak/internal/asked"
	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// asks is what is known of where sockets were asked for. It stands on the tier of
// complete stacks and comes up with it.
type asks struct {
	wanted  bool
	there   func() []uint32 // the processes in scope that are known
	tracer  *asked.Tracer   // nil: not wanted, not there yet, or failed
	failed  error
	waiting []asked.Ask
	// forked are processes without an exec yet, and when they began: most are
	// gone, or run another program, in a moment.
	forked map[uint32]time.Time
	lost   int // requests whose stacks or sockets never came, or found no place
	// born has the sockets that were made a short while ago, by inode number.
	born map[uint64]birth
	// places has the stacks where sockets were asked for, by the number that
	// keep gave them.
	places map[uint64]stack.Origin
}

// forkPause is how long a process that was forked is left alone.
const forkPause = 300 * time.Millisecond

// arrived looks at the processes that are there already.
func (a *asks) arrived(t *asked.Tracer, err error) {
	a.tracer, a.failed, a.forked = t, err, map[uint32]time.Time{}
	a.born, a.places = map[uint64]birth{}, map[uint64]stack.Origin{}
	if t == nil {
		return
	}
	for _, pid := range a.there() {
		t.Process(pid)
	}
}

// mapped tells of code that a process in scope has mapped.
func (a *asks) mapped(pid uint32, m symbol.Mapping) {
	if a.tracer != nil {
		a.tracer.Mapped(pid, m)
	}
}

// lived follows the processes in scope. What a process maps, mapped hears of; a
// child has what its parent had.
func (a *asks) lived(ev *event.Event) {
	if a.tracer == nil {
		return
	}
	switch ev.Kind {
	case event.Fork:
		a.forked[ev.ChildPID] = time.Now()
	case event.Exec:
		delete(a.forked, ev.PID)
	case event.Exit:
		delete(a.forked, ev.PID)
		a.tracer.Gone(ev.PID)
	}
}

// poll takes the requests that came.
func (a *asks) poll() {
	if a.tracer == nil {
		return
	}
	for pid, since := range a.forked {
		if time.Since(since) > forkPause {
			delete(a.forked, pid)
			a.tracer.Process(pid)
		}
	}
	err := a.tracer.Poll(func(ask asked.Ask) {
		if len(a.waiting) < maxWaiting {
			a.waiting = append(a.waiting, ask)
		} else {
			a.lost++
		}
	})
	if err != nil {
		a.failed = err
	}
}

// created notes a creation: what was closed at once was asked for, too, and must
// count.
func (a *asks) created(ev *event.Event) {
	if a.tracer != nil && ev.Kind == event.Socket && len(a.born) < maxWaiting {
		a.born[ev.Inode] = birth{event.ProcessKey{PID: ev.PID, Start: ev.Start}, ev.Stack, ev.Time}
	}
}

// exchanged notes a better stack of a socket that was made.
func (a *asks) exchanged(x exchanged) {
	if b, known := a.born[x.Inode]; known && b.time == x.Birth {
		b.stack = x.Stack
		a.born[x.Inode] = b
	}
}

// birth is what is known of a socket from its creation.
type birth struct {
	creator event.ProcessKey
	stack   uint64
	time    uint64 // ns of CLOCK_MONOTONIC
}

// take calls f with the sockets for which it is known where they were asked for.
// A stack that says nothing of the program's own code is no answer.
func (a *asks) take(l *live, f func(askedFor)) {
	if a.tracer == nil {
		return
	}
	a.poll()
	a.match(probe.Now(), l, f)
}

// match is take for the requests that have come by now, in ns.
func (a *asks) match(now uint64, l *live, f func(askedFor)) {
	a.waiting = slices.DeleteFunc(a.waiting, func(ask asked.Ask) bool {
		late := now > ask.Time+patience
		b, there := a.born[ask.Inode] // or its event is on the way, or was lost
		there = there && b.creator.PID == ask.PID
		var id uint64
		var via lifecycle.Asking
		if there {
			id, via, there = a.answer(&ask, b.creator, l)
		}
		if !there && !late {
			return false
		}
		if !there {
			a.lost++
		}
		if id != 0 {
			f(askedFor{Inode: ask.Inode, Birth: b.time, Stack: id, Made: b.stack, Start: b.creator.Start, PID: ask.PID, Via: via})
		}
		return true
	})
	maps.DeleteFunc(a.born, func(_ uint64, b birth) bool { return now > b.time+2*patience })
}

// answer finds the stack of a request, zero if it says nothing. It is false if the
// stack is not there yet.
func (a *asks) answer(ask *asked.Ask, p event.ProcessKey, l *live) (id uint64, via lifecycle.Asking, there bool) {
	exe := l.exe(p)
	if ask.Started != 0 {
		return a.keep(p, lifecycle.ByGo, l.startedAt(p, ask.Started), exe), lifecycle.ByGo, true
	}
	for _, id := range ask.Stacks {
		if id == 0 {
			break
		}
		if !l.deep.tier.Has(id) {
			return 0, 0, false
		}
		o := l.deep.tier.Resolve(id)
		if kept := a.keep(p, lifecycle.ByLibuv, o, exe); kept != 0 {
			return kept, lifecycle.ByLibuv, true
		}
		if !asked.Replaced(o.Frames) {
			break
		}
	}
	return 0, 0, true
}

// maxAsked bounds the places that are held where sockets were asked for.
const maxAsked = 1 << 14

// keep returns a number for the place where a socket was asked for, which is the
// program's own frames of the stack: below them there is the event loop, which
// comes to them by many ways, and what an interpreter compiles while it runs has
// a new address each time. Zero if there are none.
func (a *asks) keep(p event.ProcessKey, via lifecycle.Asking, o stack.Origin, exe string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %d", p.PID, p.Start, via)
	any := false
	for i := range o.Frames {
		if f := &o.Frames[i]; stack.Own(f, exe) {
			any = true
			fmt.Fprintf(h, "\x00%s\x00%s\x00%d\x00%s\x00%d", f.Function, f.File, f.Line, f.Module, lineless(f))
		}
	}
	if !any {
		return 0
	}
	id := max(1, h.Sum64())
	if have, known := a.places[id]; known && (have.Quality == stack.Complete || o.Quality != stack.Complete) {
		return id
	} else if !known && len(a.places) >= maxAsked {
		a.lost++
		return 0
	}
	a.places[id] = o
	return id
}

// lineless is the address of a frame that has no line to tell it by.
func lineless(f *stack.Frame) uint64 {
	if f.Line != 0 {
		return 0
	}
	return f.Address
}

// note says what the reader must know.
func (a *asks) note() []string {
	var notes []string
	if a.failed != nil {
		notes = append(notes, fmt.Sprintf("where sockets were asked for is not known: %v", a.failed))
	}
	if a.tracer == nil {
		return notes
	}
	if s := a.tracer.Status(); s.Err != nil {
		notes = append(notes, fmt.Sprintf("where sockets were asked for is not known of all processes: %v", s.Err))
	} else if s.Refused > 0 {
		notes = append(notes, fmt.Sprintf("where sockets were asked for is not known of all processes: %d were too many", s.Refused))
	}
	loss, err := a.tracer.Loss()
	if err != nil {
		return append(notes, fmt.Sprintf("how many requests for sockets were lost is not known: %v", err))
	}
	if n := loss.Full + loss.Busy + loss.NotRun + loss.Ring + uint64(a.lost); n > 0 {
		notes = append(notes, fmt.Sprintf("where they were asked for was lost for %d sockets", n))
	}
	return notes
}

func (a *asks) close() error {
	if a.tracer == nil {
		return nil
	}
	return a.tracer.Close()
}

// mapped hears of code that a process has mapped.
func (l *live) mapped(pid uint32, m symbol.Mapping) {
	if l.inScope(pid) {
		l.deep.asks.mapped(pid, m)
	}
}

// exe is the path of a process's program, empty if it isn't known.
func (l *live) exe(p event.ProcessKey) string {
	if exe := l.engine.names.known[p].Exe; exe != nil {
		return *exe
	}
	return ""
}

// startedAt names the go statement that returns to an address.
func (l *live) startedAt(p event.ProcessKey, address uint64) stack.Origin {
	// Numbers of stacks are hashes; this one is an address of the process.
	l.engine.origins.Capture(stack.Raw{ID: address, Process: p, Addresses: []uint64{address}})
	o := l.engine.origins.Resolve(p, address)
	return stack.Origin{Quality: o.Quality, Reason: o.Reason, Frames: o.Frames}
}

// inScope reports whether a process is traced.
func (l *live) inScope(pid uint32) bool {
	if len(l.opts.Scope.PIDs) == 0 {
		return pid != uint32(os.Getpid())
	}
	_, ok := l.engine.targets[pid]
	return ok
}

// processes are those in scope that are known by now.
func (l *live) processes() []uint32 {
	var pids []uint32
	if len(l.opts.Scope.PIDs) > 0 {
		for pid := range l.engine.alive {
			pids = append(pids, pid)
		}
		return pids
	}
	for p := range l.engine.table.Processes() {
		pids = append(pids, p.Key.PID)
	}
	return pids
}

// askedFor is a socket of which it is known where it was asked for. In a recording
// it has these fields, little-endian.
type askedFor struct {
	Inode, Birth uint64
	Stack        uint64 // where
	Made         uint64 // the best stack that it was known to be made on
	Start        uint64 // of the process that made it
	PID          uint32
	Via          lifecycle.Asking
}

// askedFor notes where a socket was asked for.
func (e *engine) askedFor(x askedFor) {
	creator, made, ok := e.table.SetAsked(x.Inode, x.Birth, x.Stack, x.Via)
	if !ok { // closed meanwhile
		creator, made = event.ProcessKey{PID: x.PID, Start: x.Start}, x.Made
	}
	switch {
	case x.Via == lifecycle.ByGo:
		e.judge.Started(creator, made, x.Stack)
	default:
		e.judge.Asked(creator, made, x.Stack, !ok)
	}
}
