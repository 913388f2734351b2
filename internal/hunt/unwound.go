package hunt

import (
	"fmt"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/unwind"
)

// copyRing is the size of the ring buffer for copies of stacks, in bytes: room for
// a thousand.
const copyRing = 8 << 20

// unwound is the tier of stacks that are walked by unwind tables. What it says of the
// making or the use of a socket is known as soon as the event is.
type unwound struct {
	stacks  *unwind.Stacks // nil: not wanted
	probe   *probe.Probe
	pending []better
	// lesser has the stack by frame pointers of a call with a walked one, for
	// when that was pushed out.
	lesser map[uint64]uint64
	failed error
}

func (u *unwound) start(s *unwind.Stacks, p *probe.Probe) {
	u.stacks, u.probe = s, p
	u.lesser = map[uint64]uint64{}
}

// walked returns the walked stack that a socket was made or used on, or zero and why
// there is none where one was wanted.
func (u *unwound) walked(ev *event.Event) (id uint64, lack event.Lack) {
	switch {
	case u.stacks == nil || u.failed != nil || ev.Walk == event.WalkNone:
		return 0, event.LackNone
	case ev.Walk == event.WalkLost:
		return 0, event.LackLost
	case ev.Walk == event.WalkSpared:
		return 0, event.LackCrowded
	}
	id, ok := u.stacks.Find(ev.Walk)
	if !ok {
		u.read()
		id, ok = u.stacks.Find(ev.Walk)
	}
	if !ok {
		return 0, event.LackLost
	}
	if u.stacks.Frames(id) < leastFrames {
		return 0, event.LackNone // the walk by frame pointers tells no less
	}
	u.pending = append(u.pending, betterFor(ev, ev.Stack, id))
	if len(u.lesser) < maxWaiting {
		u.lesser[id] = ev.Stack
	}
	return id, event.LackNone
}

// leastFrames is libc's function and its caller.
const leastFrames = 2

// read walks the copies that there are.
func (u *unwound) read() {
	var walked error
	err := u.probe.Copies(func(c *stack.Copy) {
		if walked == nil {
			walked = u.stacks.Add(c)
		}
	})
	if err == nil {
		err = walked
	}
	if err != nil {
		u.failed = err
	}
}

// take calls f with what is to have a walked stack.
func (u *unwound) take(f func(better)) {
	for _, x := range u.pending {
		f(x)
	}
	u.pending = u.pending[:0]
}

// whole says whether a stack was walked to its end, with nothing missing.
func (u *unwound) whole(id uint64) bool {
	return u.stacks != nil && u.stacks.Has(id) && u.stacks.Resolve(id).Quality == stack.Complete
}

// note says what the reader must know of the tier.
func (u *unwound) note() []string {
	if u.failed == nil {
		return nil
	}
	return []string{fmt.Sprintf("stacks are no longer walked by unwind tables: %v", u.failed)}
}
