package hunt

import (
	"fmt"
	"os"
	"slices"
	"time"

	"sockleak/internal/asked"
	"sockleak/internal/deepstack"
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
	lost   int // requests whose stacks never came
}

// forkPause is how long a process that was forked is left alone.
const forkPause = 300 * time.Millisecond

// arrived looks at the processes that are there already.
func (a *asks) arrived(t *asked.Tracer, err error) {
	a.tracer, a.failed, a.forked = t, err, map[uint32]time.Time{}
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

// take calls f with the sockets for which it is known where they were asked for.
// A stack that says nothing of the program's own code is no answer.
func (a *asks) take(tier *deepstack.Tier, exe func(pid uint32) string, f func(exchanged)) {
	if a.tracer == nil {
		return
	}
	a.poll()
	now := probe.Now()
	a.waiting = slices.DeleteFunc(a.waiting, func(ask asked.Ask) bool {
		id, there := answer(&ask, tier, exe(ask.PID))
		if !there {
			if late := now > ask.Time+patience; !late {
				return false
			}
			a.lost++
			return true
		}
		if id != 0 {
			f(exchanged{Inode: ask.Inode, Birth: ask.Time, Stack: id})
		}
		return true
	})
}

// answer chooses the stack: that of the handle, or if the handle was only put in
// the place of another one, that one's. It is false if a stack is not there yet.
func answer(ask *asked.Ask, tier *deepstack.Tier, exe string) (id uint64, there bool) {
	for _, id := range ask.Stacks {
		if id == 0 {
			return 0, true
		}
		if !tier.Has(id) {
			return 0, false
		}
		frames := tier.Resolve(id).Frames
		if stack.Culprit(frames, exe) >= 0 {
			return id, true
		}
		if !asked.Replaced(frames) {
			return 0, true
		}
	}
	return 0, true
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
func (l *live) exe(pid uint32) string {
	for key, d := range l.engine.names.known {
		if key.PID == pid && d.Exe != nil {
			return *d.Exe
		}
	}
	return ""
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

// askedFor notes where a socket was asked for.
func (e *engine) askedFor(x exchanged) {
	if creator, made, ok := e.table.SetAsked(x.Inode, x.Birth, x.Stack, lifecycle.ByLibuv); ok {
		e.judge.Better(creator, made, x.Stack)
	}
}
