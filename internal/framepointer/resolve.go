package framepointer

import (
	"fmt"
	"strings"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

const (
	reasonNone    = "no stack was taken for this socket"
	reasonLost    = "stack lost: the kernel's record of it found no place in the ring buffer"
	reasonEmpty   = "the kernel could not walk the stack"
	reasonAstray  = "the first address of the stack is not code"
	reasonWalk    = "walked by frame pointers: callers compiled without them are missing"
	reasonDeeper  = "the stack is deeper than what was taken"
	reasonGarbage = "the walk went astray"
)

// Resolve implements stack.Resolver. The answer is kept; its frames are to be
// read, not to be changed.
func (r *Resolver) Resolve(p event.ProcessKey, id uint64) stack.Origin {
	t := r.stacks[stackKey{p, id}]
	if t == nil {
		if id != 0 && r.refused > 0 {
			return stack.Origin{Quality: stack.None, Reason: fmt.Sprintf("no room for its stack: %d are held already", r.max)}
		}
		if id != 0 {
			return stack.Origin{Quality: stack.None, Reason: reasonLost}
		}
		return stack.Origin{Quality: stack.None, Reason: reasonNone}
	}
	if t.resolved == nil {
		o := r.origin(t)
		t.resolved = &o
		t.frames = nil // not needed any more
	}
	return *t.resolved
}

func (r *Resolver) origin(t *trace) stack.Origin {
	switch {
	case t.reason != "":
		return stack.Origin{Quality: stack.None, Reason: t.reason}
	case len(t.frames) == 0 && t.garbage == 0:
		return stack.Origin{Quality: stack.None, Reason: reasonEmpty}
	case len(t.frames) == 0:
		return stack.Origin{Quality: stack.None, Reason: reasonAstray}
	}
	locs := t.frames
	if t.called && calledFrom(r.symbols, locs[0], t.caller) {
		locs = append(append(locs[:1:1], t.caller), locs[1:]...)
	}
	var frames []stack.Frame
	var unread error
	for _, loc := range locs {
		// The first is no return address, but the instruction that matters
		// is the system call before it.
		f, err := r.symbols.Frames(loc, true)
		frames = append(frames, f...)
		if unread == nil {
			unread = err
		}
	}
	if t.whole(frames) {
		return stack.Origin{Quality: stack.Complete, Frames: frames}
	}
	reasons := []string{reasonWalk}
	if t.garbage > 0 {
		reasons = append(reasons, reasonGarbage)
	}
	if t.deeper {
		reasons = append(reasons, reasonDeeper)
	}
	if unread != nil {
		reasons = append(reasons, strings.ReplaceAll(unread.Error(), "\n", ", "))
	}
	return stack.Origin{Quality: stack.Partial, Reason: strings.Join(reasons, "; "), Frames: frames}
}

// whole says whether nothing can be missing: Go keeps frame pointers in all its
// functions, and every goroutine begins in runtime.goexit. That holds as long
// as the caller of the first function, which has no frame, could be looked for.
func (t *trace) whole(frames []stack.Frame) bool {
	if t.deeper || t.garbage > 0 || !t.read {
		return false
	}
	for _, f := range frames {
		if f.Kind != stack.Go {
			return false
		}
	}
	return frames[len(frames)-1].Function == "runtime.goexit"
}
