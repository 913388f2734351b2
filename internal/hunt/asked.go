package hunt

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"sockleak/internal/asked"
	"sockleak/internal/deepstack"
	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/symbol"
	"sockleak/internal/words"
)

// asks is what is known of where sockets were asked for. It stands on the tier of
// complete stacks and comes up after it.
type asks struct {
	wanted  bool
	opening chan opened           // nil: not wanted, or here already
	there   func() []uint32       // the processes in scope that are known
	inScope func(pid uint32) bool // of a process that lives
	ahead   []string              // what the processes that are there will map first
	budget  asked.Budget
	tracer  *asked.Tracer // nil: not wanted, not there yet, or failed
	failed  error
	waiting []asked.Ask
	// young are processes that began, or run another program, a moment ago, and
	// since when: most are gone, or run yet another, in a moment. What they map is
	// told of besides, but possibly before it is known that they are in scope.
	young map[uint32]time.Time
	lost  int // requests whose stacks or sockets never came, or found no place
	// born has the sockets that were made a short while ago, by inode number.
	born map[uint64]birth
	// places has the stacks where sockets were asked for, by the number that
	// keep gave them.
	places map[uint64]place
}

// youth is how long a young process is left alone.
const youth = 300 * time.Millisecond

type opened struct {
	tracer *asked.Tracer
	err    error
}

// start returns what opens the tracer when the tier is there, unless the trace is over by
// then. pids are the processes that were named.
func (a *asks) start(pids []uint32) func(context.Context, *deepstack.Tier) {
	if !a.wanted {
		return func(context.Context, *deepstack.Tier) {}
	}
	done, budget, ahead := make(chan opened, 1), a.budget, a.ahead
	a.opening = done
	return func(ctx context.Context, tier *deepstack.Tier) {
		if err := ctx.Err(); err != nil {
			done <- opened{err: err}
			return
		}
		t, err := asked.Open(tier, budget)
		if t != nil && len(ahead) > 0 {
			for _, pid := range pids {
				t.Ahead(pid, ahead)
			}
		}
		done <- opened{t, err}
	}
}

// arrived looks at the processes that are there already.
func (a *asks) arrived(o opened) {
	a.opening = nil
	a.tracer, a.failed, a.young = o.tracer, o.err, map[uint32]time.Time{}
	a.born, a.places = map[uint64]birth{}, map[uint64]place{}
	if a.tracer == nil {
		return
	}
	for _, pid := range a.there() {
		if a.inScope(pid) {
			a.tracer.Process(pid)
		}
	}
}

// mapped tells of code that a process in scope has mapped.
func (a *asks) mapped(pid uint32, m symbol.Mapping) {
	if a.tracer != nil {
		a.tracer.Mapped(pid, m)
	}
}

// lived follows the processes in scope. A child has what its parent had.
func (a *asks) lived(ev *event.Event) {
	if a.tracer == nil {
		return
	}
	switch ev.Kind {
	case event.Fork:
		a.young[ev.ChildPID] = time.Now()
	case event.Exec:
		a.young[ev.PID] = time.Now()
	case event.Exit:
		delete(a.young, ev.PID)
		a.tracer.Gone(ev.PID)
	}
}

// poll takes the requests that came.
func (a *asks) poll() {
	if a.tracer == nil {
		return
	}
	for pid, since := range a.young {
		if time.Since(since) <= youth {
			continue
		}
		delete(a.young, pid)
		if a.inScope(pid) {
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

// take calls f with the sockets for which it is known where they were asked for. Those
// of which that is missing from before until, in ns, are lost. A stack that says
// nothing of the program's own code is no answer.
func (a *asks) take(until uint64, l *live, f func(askedFor)) {
	if a.tracer == nil {
		return
	}
	a.poll()
	a.match(until, l, f)
}

// match is take for the requests that have come.
func (a *asks) match(until uint64, l *live, f func(askedFor)) {
	a.waiting = slices.DeleteFunc(a.waiting, func(ask asked.Ask) bool {
		late := ask.Time < until
		b, there := a.born[ask.Inode] // or its event is on the way, or was lost
		there = there && b.creator.PID == ask.PID
		var x askedFor
		if there {
			x, there = a.answer(&ask, b.creator, l)
		}
		// What it was made on counts where it was asked for was left out, and
		// may yet be exchanged.
		if !late && (!there || x.Via == lifecycle.ByLibuvSpared) {
			return false
		}
		if !there {
			a.lost++
		}
		if x.Via != lifecycle.NotAsked {
			x.Inode, x.Birth, x.Made, x.Start, x.PID = ask.Inode, b.time, b.stack, b.creator.Start, ask.PID
			f(x)
		}
		return true
	})
	maps.DeleteFunc(a.born, func(_ uint64, b birth) bool { return b.time+patience < until })
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
		notes = append(notes, fmt.Sprintf("where sockets were asked for is not known of all processes: %s passed over, for there was more to follow than is followed at one time", words.Counted(s.Refused, "was", "were")))
	}
	loss, err := a.tracer.Loss()
	if err != nil {
		return append(notes, fmt.Sprintf("how many requests for sockets were lost is not known: %v", err))
	}
	if loss.Spared > 0 {
		notes = append(notes, fmt.Sprintf("of %s of %s handles of libuv the stack was left out, to stay within --stack-rate %d; where their sockets were asked for is inferred from others of the same call if those have one such place",
			words.Thousands(loss.Spared), words.Thousands(loss.Handles), a.budget.Rate))
	}
	return append(notes, lossNotes(loss, a.lost)...)
}

// lossNotes says what is not known of where sockets were asked for. lost counts
// requests.
func lossNotes(loss asked.Loss, lost int) []string {
	var notes []string
	if n := loss.Full + loss.Busy + loss.NotRun + loss.Unread + loss.Ring + uint64(lost); n > 0 {
		notes = append(notes, "the line that asked for them was lost for "+words.Counted(n, "socket", "sockets"))
	}
	if loss.Unknown > 0 {
		notes = append(notes, fmt.Sprintf("where they were asked for is not known of %s: the unwinder did not know their processes yet", words.Counted(loss.Unknown, "socket", "sockets")))
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

// inScope reports whether a process that lives is traced.
func (l *live) inScope(pid uint32) bool {
	s := &l.opts.Scope
	if _, target := l.engine.targets[pid]; pid == l.opts.Self || len(s.PIDs) > 0 && !target {
		return false
	}
	if len(s.Comms) == 0 && len(s.Exclude) == 0 {
		return true
	}
	comm, err := l.fs.Comm(pid)
	return err == nil && nameWanted(s, comm)
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
