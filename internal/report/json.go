// Package report shows what package verdict found, to a reader and to other
// programs, and what a snapshot of the kernel's tables holds.
package report

import (
	"encoding/json"
	"io"
	"slices"

	"sockleak/internal/verdict"
)

// JSON writes the report as one indented object and a newline. An error of w is
// returned as it is.
func JSON(w io.Writer, r *verdict.Report) error {
	return encode(w, withEmptyLists(r), "  ")
}

// NDJSON writes the report as one line, for streams of reports.
func NDJSON(w io.Writer, r *verdict.Report) error {
	return encode(w, withEmptyLists(r), "")
}

func encode(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // "std::vector<int>" is to stay legible
	e.SetIndent("", indent)
	return e.Encode(v)
}

// withEmptyLists returns a copy of r in which no list is nil: a reader need not
// tell null from [].
func withEmptyLists(r *verdict.Report) *verdict.Report {
	c := *r
	c.Reasons = list(c.Reasons)
	c.Limits = list(c.Limits)
	c.Observations = list(c.Observations)
	c.Notes = list(c.Notes)
	c.Findings = list(slices.Clone(c.Findings))
	for i := range c.Findings {
		f := &c.Findings[i]
		f.Origin.Frames = list(f.Origin.Frames)
		f.Peers = list(f.Peers)
		f.Series = list(f.Series)
		f.Evidence = list(f.Evidence)
		f.Threads = list(f.Threads)
		f.LastUse = list(slices.Clone(f.LastUse))
		for j := range f.LastUse {
			f.LastUse[j].Origin.Frames = list(f.LastUse[j].Origin.Frames)
		}
		if f.States == nil {
			f.States = map[string]int{}
		}
		f.Sockets = list(slices.Clone(f.Sockets))
		for j := range f.Sockets {
			f.Sockets[j].Holders = list(f.Sockets[j].Holders)
		}
	}
	return &c
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
