package hunt

import (
	"fmt"
	"hash/fnv"
	"maps"

	"sockleak/internal/asked"
	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
)

// askedFor is a socket of which it is known where it was asked for. In a recording
// it has these fields, little-endian.
type askedFor struct {
	Inode, Birth uint64
	Stack        uint64    // where; if that was left out, the call that asked
	Made         uint64    // the best stack that it was known to be made on
	Calls        [4]uint64 // that asked, see asked.Ask; zero: not known
	Start        uint64    // of the process that made it
	PID          uint32
	Via          lifecycle.Asking
}

// answer finds out who asked: Stack, Via and Calls, which are zero if the stacks say
// nothing. It is false if they are not there yet.
func (a *asks) answer(ask *asked.Ask, p event.ProcessKey, l *live) (x askedFor, there bool) {
	exe := l.exe(p)
	if ask.Started != 0 {
		return askedBy(a.keep(p, lifecycle.ByGo, l.startedAt(p, ask.Started), exe), lifecycle.ByGo), true
	}
	for i, id := range ask.Stacks {
		x.Calls[i] = ask.Calls[i]
		if ask.Spared[i] {
			// Of those before it is known only that they were not the ones.
			return askedFor{Stack: ask.Calls[i], Via: lifecycle.ByLibuvSpared}, true
		}
		if id == 0 {
			break
		}
		if !l.deep.tier.Has(id) {
			return askedFor{}, false
		}
		o := l.deep.tier.Resolve(id)
		if kept := a.keep(p, lifecycle.ByLibuv, o, exe); kept != 0 {
			x.Stack, x.Via = kept, lifecycle.ByLibuv
			return x, true
		}
		if !asked.Replaced(o.Frames) {
			break
		}
	}
	return askedFor{}, true
}

// askedBy is what there is to tell of a place, if it is one.
func askedBy(place uint64, via lifecycle.Asking) askedFor {
	if place == 0 {
		return askedFor{}
	}
	return askedFor{Stack: place, Via: via}
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
	if have, known := a.places[id]; known && (have.origin.Quality == stack.Complete || o.Quality != stack.Complete) {
		return id
	} else if !known && len(a.places) >= maxAsked {
		a.lost++
		return 0
	}
	a.places[id] = place{p, o}
	return id
}

// place is where a process asked for sockets.
type place struct {
	process event.ProcessKey
	origin  stack.Origin
}

// drop lets go of the places of processes that are done with, or their number would
// come to its bound some time where short processes come and go.
func (a *asks) drop(e *engine) {
	done := e.judge.Done(e.table, func(yield func(event.ProcessKey) bool) {
		for _, at := range a.places {
			if !yield(at.process) {
				return
			}
		}
	})
	maps.DeleteFunc(a.places, func(_ uint64, at place) bool { return done[at.process] })
}

// lineless is the address of a frame that has no line to tell it by.
func lineless(f *stack.Frame) uint64 {
	if f.Line != 0 {
		return 0
	}
	return f.Address
}

// startedAt names the go statement that returns to an address.
func (l *live) startedAt(p event.ProcessKey, address uint64) stack.Origin {
	// Numbers of stacks are hashes; this one is an address of the process.
	l.engine.origins.Capture(stack.Raw{ID: address, Process: p, Addresses: []uint64{address}})
	o := l.engine.origins.Resolve(p, address)
	return stack.Origin{Quality: o.Quality, Reason: o.Reason, Frames: o.Frames}
}

// askedFor notes where a socket was asked for.
func (e *engine) askedFor(x askedFor) {
	// What was closed meanwhile counts, too.
	creator, made := event.ProcessKey{PID: x.PID, Start: x.Start}, x.Made
	e.each(x.Inode, x.Birth, func(s *lifecycle.Socket) {
		s.AskStack, s.AskVia = x.Stack, x.Via
		creator, made = s.Creator, s.Stack
	})
	switch {
	case x.Via == lifecycle.ByGo:
		e.judge.Started(creator, made, x.Stack)
	case x.Via == lifecycle.ByLibuvSpared:
		e.judge.AskSpared(creator, made, x.Stack)
	default:
		for _, call := range x.Calls {
			e.judge.AskCalled(creator, call, x.Stack)
		}
		e.judge.Asked(creator, made, x.Stack)
	}
}
