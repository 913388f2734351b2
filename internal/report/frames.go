package report

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// A recursion can be hundreds of frames deep: of so many rows the first and the
// last are shown.
const (
	maxRows  = 24
	tailRows = 4
)

// row is a line of a stack: a frame, or words in place of some frames.
type row struct {
	mark, name, place, suffix string
	words                     string
	style                     style
}

// tail is the columns of what is never left out of a place: file and line.
func (r row) tail() int {
	return columns(r.place[strings.LastIndexByte(r.place, '/')+1:]) + columns(r.suffix)
}

// frameIndent is what stands before a function's name: an indent and the mark.
const frameIndent = 3 + 3

// frames shows the stack, callee first, with the places in a column.
func (t *text) frames(o *verdict.Origin, exe *string) {
	rows := t.rows(o, exe)
	room := t.room(frameIndent)
	names, places := rowWidths(rows, room)
	for _, r := range rows {
		mark := fmt.Sprintf("   %-2s ", r.mark)
		switch {
		case r.words != "":
			dots := "… "
			if t.ascii {
				dots = "... "
			}
			t.para(dim, strings.Repeat(" ", frameIndent)+dots, r.style, r.words)
		case r.place == "":
			t.line(r.style, mark+shortFunction(r.name, room)+r.suffix)
		case places > 0 && r.tail() > places: // a line of its own
			t.line(r.style, mark+shortFunction(r.name, room))
			indent := strings.Repeat(" ", frameIndent+2)
			t.line(r.style, indent+shortPath(r.place, room-2-columns(r.suffix))+r.suffix)
		default:
			limit := 0
			if places > 0 {
				limit = places - columns(r.suffix)
			}
			name := shortFunction(r.name, names)
			pad := strings.Repeat(" ", 2+max(0, names-columns(name)))
			t.line(r.style, mark+name+pad+shortPath(r.place, limit)+r.suffix)
		}
	}
}

// rows lays the frames out: runs of folded frames become one row of words. A
// single folded frame is shown, for that takes no more room than saying so.
func (t *text) rows(o *verdict.Origin, exe *string) []row {
	program := ""
	if exe != nil {
		program = *exe
	}
	folded := make([]bool, len(o.Frames))
	if !t.options.AllFrames {
		folded = stack.Folded(o.Frames, program)
	}
	var rows []row
	culpritRow := 0
	for i := 0; i < len(o.Frames); {
		j := i
		for j < len(o.Frames) && folded[j] {
			j++
		}
		if j-i > 1 {
			s := counted(j-i, "frame", "frames") + " of " + foldedNames(o.Frames[i:j], program)
			rows = append(rows, row{words: s + t.hint(), style: dim})
			i = j
			continue
		}
		r := row{name: t.clean(functionOf(o.Frames[i])), place: t.clean(placeOf(o.Frames[i]))}
		if o.Frames[i].Inlined {
			r.suffix = " (inlined)"
		}
		switch {
		case o.Culprit != nil && *o.Culprit == i:
			r.mark, r.style = "->", bold
			culpritRow = len(rows)
		case folded[i]:
			r.style = dim
		}
		rows = append(rows, r)
		i++
	}
	if t.options.AllFrames || len(rows) <= maxRows {
		return rows
	}
	head := max(maxRows-tailRows-1, culpritRow+4)
	if left := len(rows) - head - tailRows; left > 1 {
		words := row{words: thousands(left) + nbsp + "more lines" + t.hint(), style: dim}
		rows = append(append(rows[:head:head], words), rows[len(rows)-tailRows:]...)
	}
	return rows
}

// hint tells the reader once how to see everything.
func (t *text) hint() string {
	if t.hinted {
		return ""
	}
	t.hinted = true
	return " (--all-frames shows them)"
}

// foldedNames says whose the frames are: the libraries', or the program's own
// start-up and runtime.
func foldedNames(frames []stack.Frame, exe string) string {
	var names []string
	seen := map[string]bool{}
	for _, f := range frames {
		name := path.Base(f.Module)
		switch {
		case f.Kind == stack.Kernel:
			name = "the kernel"
		case f.Kind == stack.Go:
			name = "the Go runtime"
		case f.Module == "" && f.Kind != stack.Native:
			name = "the " + string(f.Kind) + " runtime"
		case f.Module == "" || f.Module == exe && !stack.Runtime(exe):
			name = "start-up"
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if len(names) > 2 {
		names = append(names[:2], "others")
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return strings.Join(names, "")
}

// functionOf names a frame's function; where it has no name, what addr2line(1)
// needs to find it.
func functionOf(f stack.Frame) string {
	switch {
	case f.Function != "":
		return f.Function
	case f.File != "":
		return "(no name)"
	}
	return addressOf(f)
}

// placeOf says where a frame is: file and line; else module and address; empty
// where the function's name says it already.
func placeOf(f stack.Frame) string {
	switch {
	case f.File != "" && f.Line > 0:
		return f.File + ":" + strconv.Itoa(f.Line)
	case f.File != "":
		return f.File
	case f.Function != "" && (f.Module != "" || f.Address != 0):
		return addressOf(f)
	}
	return ""
}

func addressOf(f stack.Frame) string {
	switch module := path.Base(f.Module); {
	case f.Module == "":
		return fmt.Sprintf("0x%x", f.Address)
	case f.Address == 0:
		return module
	default:
		return fmt.Sprintf("%s+0x%x", module, f.Address)
	}
}

// rowWidths divides room columns (0: no limit) between names and places. Places
// get two fifths, and up to half where that keeps file and line whole; what
// needs more goes on a line of its own. Names get the rest.
func rowWidths(rows []row, room int) (names, places int) {
	need := room * 2 / 5
	for _, r := range rows {
		if r.place == "" || room > 0 && r.tail() > room/2 {
			continue
		}
		names = max(names, columns(r.name))
		places = max(places, columns(r.place)+columns(r.suffix))
		need = max(need, r.tail())
	}
	const gap = 2
	switch {
	case room == 0:
		return names, 0
	case names+gap+places <= room:
		return names, places
	}
	places = min(places, max(need, room-gap-names))
	return min(names, room-gap-places), places
}
