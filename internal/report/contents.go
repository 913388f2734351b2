package report

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"sockleak/internal/verdict"
)

// contents lists the findings when there are several, so that the first screen
// has the whole answer: how many, what, and the line.
func (t *text) contents(r *verdict.Report) {
	if len(r.Findings) < 2 {
		return
	}
	var counts, classes int
	several := false
	for i := range r.Findings {
		f := &r.Findings[i]
		counts = max(counts, columns(thousands(f.Count)))
		classes = max(classes, columns(string(f.Class)))
		several = several || f.Process.PID != r.Findings[0].Process.PID
	}
	numbers := len(strconv.Itoa(len(r.Findings)))
	for i := range r.Findings {
		f := &r.Findings[i]
		lead := fmt.Sprintf("  %*d. %*s × %-*s  ", numbers, i+1, counts, thousands(f.Count), classes, f.Class)
		room := t.room(columns(lead))
		words := t.place(cmp.Or(askedOrigin(f.RequestedAt), &f.Origin), room)
		if whose := t.clean(f.Process.Comm) + "  "; several && (room == 0 || columns(whose)+columns(words) <= room) {
			words = whose + words
		}
		t.line(plain, lead+words)
	}
}

// place names the culprit's file and line in room columns (0: no limit), with the
// function if there is room for both.
func (t *text) place(o *verdict.Origin, room int) string {
	if nowhere(o) != "" {
		return shortMiddle("origin unknown", room)
	}
	culprit := o.Frames[*o.Culprit]
	function, where := t.clean(functionOf(culprit)), t.clean(placeOf(culprit))
	where = where[strings.LastIndexByte(where, '/')+1:]
	left := room - columns(where) - 2
	switch {
	case where == "":
		return shortFunction(function, room)
	case room == 0:
		return function + "  " + where
	case left < minFunction:
		return shortPath(where, room)
	}
	return shortFunction(function, left) + "  " + where
}

// minFunction is the columns that a function's name needs to be recognized.
const minFunction = 12
