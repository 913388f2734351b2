package report

import (
	"strings"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// requested shows where the program asked for the sockets, in the way of origin.
func (t *text) requested(r *verdict.Requested, exe *string) {
	if r == nil || r.Quality == stack.None || len(r.Frames) == 0 {
		return
	}
	lead := "   asked for at  "
	if r.Inferred {
		lead = "   likely asked for at  "
	}
	if r.Culprit != nil && *r.Culprit < len(r.Frames) {
		t.culprit(lead, r.Frames[*r.Culprit])
	} else {
		t.para(bold, lead, bold, "unknown: no frame of the program's own code on the stack")
	}
	t.blank()
	t.stack(&verdict.Origin{Frames: r.Frames, Culprit: r.Culprit}, exe)
	if r.Quality == stack.Partial {
		t.prose(yellow, "      the stack is partial: ", plain, reasonOr(r.Reason, "frames may be missing or wrong"))
	}
	t.blank()
}

// accepted shows the listener, and the line that asked for it.
func (t *text) accepted(a *verdict.Accepted) {
	if a == nil {
		return
	}
	words := addressOr(a.Address)
	if a.Culprit != nil && *a.Culprit < len(a.Frames) {
		f := a.Frames[*a.Culprit]
		words += ", listening since " + strings.TrimRight(functionOf(f)+nbsp+nbsp+placeOf(f), nbsp)
	}
	t.blank()
	t.para(bold, "   accepted from  ", bold, words)
}
