package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// Why a socket has not all of the stack.
const (
	reasonShort    = "the stack is deeper than the 8 KB that were copied"
	reasonCut      = "the memory of the stack could not be read any further"
	reasonUnmapped = "the walk came to an address that is no code"
	reasonNoTable  = "the walk came to code without unwind information"
	reasonFrames   = "the stack has more frames than are walked"
	reasonGuessed  = "the callers of code without unwind information were found by its instructions or by frame pointers"
	reasonLanguage = "frames of %s are missing: unwind tables know native code alone"
	reasonForgot   = "the stack was pushed out by others"
)

// trace is a walked stack, shared by all that look the same.
type trace struct {
	key     string
	refs    int
	frames  []frame
	end     ending
	guessed bool
	cut     bool
	failed  error // there are no mappings to find the code in
	origin  *stack.Origin
}

func (t *trace) appendKey(b []byte) []byte {
	flags := byte(t.end)
	if t.guessed {
		flags |= 1 << 6
	}
	if t.cut {
		flags |= 1 << 7
	}
	b = binary.AppendUvarint(append(b, flags), uint64(len(t.frames)))
	for _, f := range t.frames {
		b = f.at.AppendKey(b)
		if f.returning {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	if t.failed != nil {
		b = append(b, t.failed.Error()...)
	}
	return b
}

// Resolve returns the frames of a stack by its number. The answer is kept as long
// as the stack; its frames are to be read, not to be changed.
func (s *Stacks) Resolve(id uint64) stack.Origin {
	e := s.byID[id]
	if e == nil {
		return stack.Origin{Quality: stack.None, Reason: reasonForgot}
	}
	t := e.Value.(*held).trace
	if t.origin == nil {
		o := s.origin(t)
		t.origin = &o
	}
	return *t.origin
}

func (s *Stacks) origin(t *trace) stack.Origin {
	if errors.Is(t.failed, symbol.ErrGone) {
		return stack.Origin{Quality: stack.None, Reason: "the process ended before its memory map could be read"}
	}
	if t.failed != nil {
		return stack.Origin{Quality: stack.None, Reason: fmt.Sprintf("its memory map could not be read: %v", t.failed)}
	}
	var o stack.Origin
	var reasons []string
	for _, f := range t.frames {
		// What has no name is still there: an error takes nothing from the
		// walk.
		named, _ := s.symbols.Frames(f.at, f.returning)
		o.Frames = append(o.Frames, named...)
	}
	if why := t.unfinished(); why != "" {
		reasons = append(reasons, why)
	}
	if t.guessed {
		reasons = append(reasons, reasonGuessed)
	}
	if language := stack.MissingLanguage(o.Frames); language != "" {
		reasons = append(reasons, fmt.Sprintf(reasonLanguage, language))
	}
	switch {
	case len(o.Frames) == 0:
		o.Quality = stack.None
	case len(reasons) > 0:
		o.Quality = stack.Partial
	default:
		o.Quality = stack.Complete
	}
	o.Reason = strings.Join(reasons, "; ")
	return o
}

// unfinished says why a walk did not come to the start of the thread; empty if it
// did.
func (t *trace) unfinished() string {
	switch t.end {
	case endRoot:
		return ""
	case endShort:
		if t.cut {
			return reasonCut
		}
		return reasonShort
	case endUnmapped:
		return reasonUnmapped
	case endNoTable:
		return reasonNoTable
	default:
		return reasonFrames
	}
}
