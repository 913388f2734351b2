package hunt

import (
	"fmt"
	"maps"
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/unwind"
)

// copyRing is the size of the ring buffer for copies of stacks, in bytes: room for
// a thousand.
const copyRing = 8 << 20

// unwound is the tier of stacks that are walked by unwind tables. What it says of a
// socket is known as soon as the socket's creation is.
type unwound struct {
	stacks  *unwind.Stacks // nil: not wanted
	probe   *probe.Probe
	pending []exchanged
	// lesser has the stack by frame pointers of a call with a walked one, for
	// when that was pushed out.
	lesser  map[uint64]uint64
	without map[string]int // sockets without a walked stack, by reason
	failed  error
}

func (u *unwound) start(s *unwind.Stacks, p *probe.Probe) {
	u.stacks, u.probe = s, p
	u.lesser, u.without = map[uint64]uint64{}, map[string]int{}
}

// created returns the walked stack that a socket was made on, or zero and why there
// is none.
func (u *unwound) created(ev *event.Event) (id uint64, reason string) {
	switch {
	case u.stacks == nil || u.failed != nil || ev.Walk == event.WalkNone:
		return 0, ""
	case ev.Walk == event.WalkLost:
		return 0, unwind.ReasonLost
	case ev.Walk == event.WalkSpared:
		return 0, unwind.ReasonSpared
	}
	id, ok := u.stacks.Find(ev.Walk)
	if !ok {
		u.read()
		id, ok = u.stacks.Find(ev.Walk)
	}
	if !ok {
		return 0, unwind.ReasonLost
	}
	if u.stacks.Frames(id) < leastFrames {
		return 0, "" // the walk by frame pointers tells no less
	}
	u.pending = append(u.pending, exchanged{Inode: ev.Inode, Birth: ev.Time, Stack: id})
	if len(u.lesser) < maxWaiting {
		u.lesser[id] = ev.Stack
	}
	return id, ""
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

// take calls f with the sockets that are to have a walked stack.
func (u *unwound) take(f func(exchanged)) {
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
	var notes []string
	for _, reason := range slices.Sorted(maps.Keys(u.without)) {
		notes = append(notes, fmt.Sprintf("%d sockets have a stack by frame pointers alone: %s", u.without[reason], reason))
	}
	if u.failed != nil {
		notes = append(notes, fmt.Sprintf("stacks are no longer walked by unwind tables: %v", u.failed))
	}
	return notes
}
