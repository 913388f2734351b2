package report

import (
	"strings"

	"sockleak/internal/verdict"
)

// askedOrigin is where the program asked for sockets in the form of an origin, nil
// if that is not known.
func askedOrigin(r *verdict.Requested) *verdict.Origin {
	if r == nil {
		return nil
	}
	return &verdict.Origin{Quality: r.Quality, Reason: r.Reason, Inferred: r.Inferred, Frames: r.Frames, Culprit: r.Culprit}
}

// requested shows the line where the program asked for the sockets.
func (t *text) requested(r *verdict.Requested) {
	o := askedOrigin(r)
	if o == nil {
		return
	}
	lead, why := "   asked for at  ", nowhere(o)
	if o.Inferred && why == "" {
		lead = "   likely asked for at  "
	}
	if why != "" {
		t.para(bold, lead, bold, "unknown: "+why)
		return
	}
	t.culprit(lead, o.Frames[*o.Culprit])
}

// accepted shows the listener, and the line that asked for it.
func (t *text) accepted(a *verdict.Accepted) {
	if a != nil {
		t.para(bold, "   accepted from  ", bold, acceptedWords(a))
	}
}

// acceptedWords names a listener and the line that asked for it, or made it.
func acceptedWords(a *verdict.Accepted) string {
	words := addressOr(a.Address)
	if a.Culprit == nil || *a.Culprit >= len(a.Frames) {
		return words
	}
	f := a.Frames[*a.Culprit]
	return words + ", listening since " + strings.TrimRight(functionOf(f)+nbsp+nbsp+placeOf(f), nbsp)
}

func addressOr(a *string) string {
	if a == nil {
		return "*"
	}
	return *a
}
