package verdict

import (
	"fmt"
	"strings"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// Code that is compiled while it runs moves: one line of the program has a new
// address, and so a new stack, each time it is optimized. Stacks that read the
// same are one origin, and so are those of a process that say nothing of its own
// code: those are told apart by what their sockets are for.

// origins has, by process and stack, the stack that stands for all that are the
// same origin.
type origins struct {
	standIn map[event.ProcessKey]map[uint64]uint64
	// partial has the stacks that may lack frames.
	partial map[event.ProcessKey]map[uint64]bool
	// lines has the line that a stack leads to which stands for others; empty if it
	// names none.
	lines map[event.ProcessKey]map[uint64]string
	// first has, by what a stack reads like, the first that did. What says
	// nothing of the program's own code reads like nothing.
	first map[reading]uint64
}

type reading struct {
	process event.ProcessKey
	text    string
}

func newOrigins() origins {
	return origins{
		standIn: map[event.ProcessKey]map[uint64]uint64{}, partial: map[event.ProcessKey]map[uint64]bool{},
		lines: map[event.ProcessKey]map[uint64]string{}, first: map[reading]uint64{},
	}
}

// learn resolves a stack, and reports whether it was not seen before.
func (o *origins) learn(p event.ProcessKey, id uint64, names Names) bool {
	if id == 0 {
		return false
	}
	stacks := o.standIn[p]
	if _, known := stacks[id]; known {
		return false
	}
	if stacks == nil {
		stacks = map[uint64]uint64{}
		o.standIn[p], o.partial[p], o.lines[p] = stacks, map[uint64]bool{}, map[uint64]string{}
	}
	if names.Origin(p, id).Quality == stack.Partial {
		o.partial[p][id] = true
	}
	line, text := readingOf(p, id, names)
	r := reading{p, text}
	if _, known := o.first[r]; !known {
		o.first[r] = id
		o.lines[p][id] = line
	}
	stacks[id] = o.first[r]
	return true
}

// of returns the stack that stands for id, and whether it says nothing of the
// program's own code.
func (o *origins) of(p event.ProcessKey, id uint64) (standIn uint64, bare bool) {
	standIn, known := o.standIn[p][id]
	if !known {
		return id, false
	}
	first, any := o.first[reading{process: p}]
	return standIn, any && first == standIn
}

// names reports whether a stack was learned, and names a line.
func (o *origins) names(p event.ProcessKey, id uint64) bool {
	_, learned := o.standIn[p][id]
	_, bare := o.of(p, id)
	return learned && !bare
}

// lacksFrames reports whether a stack was learned, and may lack frames.
func (o *origins) lacksFrames(p event.ProcessKey, id uint64) bool { return o.partial[p][id] }

func (o *origins) forget(p event.ProcessKey) {
	if o.standIn[p] == nil {
		return
	}
	delete(o.standIn, p)
	delete(o.partial, p)
	delete(o.lines, p)
	for r := range o.first {
		if r.process == p {
			delete(o.first, r)
		}
	}
}

// readingOf is what a stack reads like, and of that the line that it leads to; both are
// empty if no frame is the program's own.
func readingOf(p event.ProcessKey, id uint64, names Names) (line, text string) {
	exe := ""
	if e := names.Process(p).Exe; e != nil {
		exe = *e
	}
	frames := names.Origin(p, id).Frames
	culprit := stack.Culprit(frames, exe)
	if culprit < 0 {
		return "", ""
	}
	var b strings.Builder
	for i := range frames {
		words := frameReading(&frames[i])
		if i == culprit {
			line = words
		}
		b.WriteString(words)
	}
	return line, b.String()
}

func frameReading(f *stack.Frame) string {
	switch {
	case strings.HasPrefix(f.Function, "Builtins_"):
		// V8's trampolines come and go with the tier of its compiler.
	case f.Function != "":
		return fmt.Sprintf("%s %s:%d\n", f.Function, f.File, f.Line)
	case f.Module != "":
		return fmt.Sprintf("%s+%#x\n", f.Module, f.Address)
	}
	return ""
}
