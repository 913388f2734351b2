package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/verdict"
)

// TextOptions says how a report is laid out for a reader.
type TextOptions struct {
	// Width is the columns of the terminal. Zero is no limit: nothing is
	// wrapped or shortened.
	Width int
	// Color allows bold, dim, red and yellow.
	Color bool
	// ASCII allows no other characters, for a terminal whose encoding isn't
	// UTF-8.
	ASCII bool
	// AllFrames shows the frames that are folded away otherwise.
	AllFrames bool
}

// Text writes the report for a reader: the answer in the first line, then what
// it rests on. An error of w is returned as it is.
func Text(w io.Writer, r *verdict.Report, o TextOptions) error {
	t := &text{page: newPage(o), options: o}
	t.headline(r)
	t.contents(r)
	for i := range r.Findings {
		t.blank()
		t.finding(i+1, &r.Findings[i])
	}
	if r.Omitted > 0 {
		t.blank()
		t.para(plain, "", plain, "Left out by --top: "+counted(r.Omitted, "more leak", "more leaks")+".")
	}
	t.blank()
	t.limits(r)
	t.loss(r.Loss)
	for _, o := range r.Observations {
		t.prose(bold, "worth a look: ", plain, o)
	}
	for _, n := range r.Notes {
		t.prose(bold, "note: ", plain, n)
	}
	t.prose(bold, "sockets: ", plain, totalsWords(r.Totals))
	t.prose(dim, "", dim, about(r))
	_, err := w.Write(t.buf.Bytes())
	return err
}

// text is a page with a report on it.
type text struct {
	*page
	options TextOptions
	// hinted: the reader has been told how to see folded frames.
	hinted bool
}

func (t *text) headline(r *verdict.Report) {
	lead, answer, reasons := answerOf(r)
	leadStyle, st := bold, bold
	switch r.Verdict {
	case verdict.Leak:
		st = red
	case verdict.Inconclusive:
		leadStyle, st = yellow, yellow
	}
	t.prose(leadStyle, lead, st, answer)
	for _, s := range reasons {
		t.para(plain, "- ", plain, s)
	}
}

// answerOf returns the verdict in one line, which begins with lead, and what
// carried it.
func answerOf(r *verdict.Report) (lead, answer string, reasons []string) {
	reasons = r.Reasons
	answer = "watched for " + duration(r.Duration)
	if r.Verdict == verdict.Leak {
		answer = leakWords(r) + ", " + answer
	} else if len(reasons) > 0 {
		answer = reasons[0]
	}
	reasons = slices.Clone(reasons[min(1, len(reasons)):]) // the first says the same, or is the answer
	if idleMatters(r) {
		reasons = append(reasons, "an established connection is suspected after "+duration(r.Idle)+" of silence (--idle)")
	}
	switch r.Verdict {
	case verdict.NoLeak:
		lead = "no socket leak: "
	case verdict.Inconclusive:
		lead = "inconclusive: "
	}
	return lead, answer, reasons
}

// idleMatters reports whether what was found rests on the idle time. What it means
// for an answer without a finding stands in the reasons.
func idleMatters(r *verdict.Report) bool {
	return r.Idle > 0 && slices.ContainsFunc(r.Findings, func(f verdict.Finding) bool {
		switch f.Class {
		case verdict.Abandoned, verdict.Superseded, verdict.HalfOpen, verdict.HalfClosed:
			return true
		}
		return false
	})
}

// leakWords says how many leaks there are, where, and how many sockets.
func leakWords(r *verdict.Report) string {
	sockets, possible := 0, true
	processes := map[uint32]bool{}
	for _, f := range r.Findings {
		sockets += f.Count
		possible = possible && f.Confidence == verdict.Low
		processes[f.Process.PID] = true
	}
	one, many := "leak", "leaks"
	if possible {
		one, many = "possible leak", "possible leaks"
	}
	where := r.Scope
	switch len(processes) {
	case 0:
	case 1:
		where = processName(r.Findings[0].Process)
	default:
		where = counted(len(processes), "process", "processes")
	}
	leaks := counted(len(r.Findings)+r.Omitted, one, many)
	open := counted(sockets, "socket", "sockets") + " left open"
	if r.Omitted > 0 {
		return fmt.Sprintf("%s, %s shown: %s in %s", leaks, thousands(len(r.Findings)), open, where)
	}
	return fmt.Sprintf("%s in %s: %s", leaks, where, open)
}

// soon is how near the end of its descriptors a process must be to be warned of,
// in seconds: a week.
const soon = 7 * 24 * 3600

// limits shows the limits that matter.
func (t *text) limits(r *verdict.Report) {
	for _, l := range limitsOf(r) {
		st := plain
		if endsSoon(l) {
			st = yellow
		}
		t.prose(st, limitOwner(l)+": ", st, limitWords(l))
	}
}

// limitsOf returns the limits of the processes that run out of descriptors, that
// leak, or that are the only one: a report on the whole system has a limit for
// each process.
func limitsOf(r *verdict.Report) []verdict.Limit {
	leaking := map[uint32]bool{}
	for _, f := range r.Findings {
		leaking[f.Process.PID] = true
	}
	var matter []verdict.Limit
	for _, l := range r.Limits {
		if len(r.Limits) == 1 || endsSoon(l) || leaking[l.PID] || l.Used >= l.NoFile/2 {
			matter = append(matter, l)
		}
	}
	return matter
}

func endsSoon(l verdict.Limit) bool {
	return l.Used >= l.NoFile || l.ExhaustedIn != nil && *l.ExhaustedIn < soon
}

func limitOwner(l verdict.Limit) string {
	return processName(verdict.Process{PID: l.PID, Comm: l.Comm})
}

func limitWords(l verdict.Limit) string {
	s := fmt.Sprintf("%s of %s", thousands(l.Used), counted(l.NoFile, "descriptor", "descriptors"))
	if l.NoFile == math.MaxUint64 { // RLIM_INFINITY
		s = counted(l.Used, "descriptor", "descriptors") + ", no limit"
	}
	if l.GrowthPerMin != nil {
		s += ", " + rate(*l.GrowthPerMin)
	}
	switch {
	case l.Used >= l.NoFile:
		s += ": none left"
	case l.ExhaustedIn != nil && *l.ExhaustedIn < soon:
		s += ": none left in " + duration(*l.ExhaustedIn)
	}
	return s
}

func (t *text) loss(l verdict.Loss) {
	for _, words := range lossWords(l) {
		t.prose(yellow, "lost: ", plain, words)
	}
}

// lossWords says what is missing from the record and what that does to the
// answer.
func lossWords(l verdict.Loss) []string {
	var all []string
	if n := l.Events(); n > 0 {
		s := counted(n, "event", "events") + " (" + lossKinds(l.Loss) + "), so the counts of opened and closed are too low. "
		switch l.Reconciles {
		case 0:
			s += "The table was not compared with the kernel's own afterwards: \"not closed\" means \"not seen closed\"."
		default:
			s += fmt.Sprintf("What is open is still right: the table was compared with the kernel's own %s, which corrected %s.",
				counted(l.Reconciles, "time", "times"), counted(l.Repaired, "descriptor", "descriptors"))
		}
		all = append(all, s)
	}
	if l.StackMissing > 0 {
		all = append(all, counted(l.StackMissing, "stack", "stacks")+
			" could not be taken: sockets opened there are counted, but have no line of code.")
	}
	return all
}

func lossKinds(l event.Loss) string {
	var kinds []string
	for _, k := range []struct {
		n    uint64
		what string
	}{
		{l.RingFull, "ring buffer full"},
		{l.MapFull, "kernel map full"},
		{l.ProbeSkipped, "probe skipped by the kernel"},
		{l.DecodeError, "record not understood"},
		{l.TableFull, "beyond the ceiling of sockleak's table"},
	} {
		if k.n > 0 {
			kinds = append(kinds, k.what+": "+thousands(k.n))
		}
	}
	return strings.Join(kinds, "; ")
}

func totalsWords(n verdict.Totals) string {
	s := fmt.Sprintf("%s opened, %s closed, %s live", thousands(n.Opened), thousands(n.Closed), thousands(n.Live))
	if n.Preexisting > 0 {
		s += " (" + thousands(n.Preexisting) + " from before tracing)"
	}
	if n.Winding > 0 {
		s += ", " + thousands(n.Winding) + " closed by the program and winding down in the kernel"
	}
	if n.TimeWait != nil && *n.TimeWait > 0 {
		s += ", and " + thousands(*n.TimeWait) + " of any program in TIME-WAIT in its network namespace"
	}
	return s
}

// about says what a report that was pasted somewhere is about.
func about(r *verdict.Report) string {
	patience := "grace time " + duration(r.MinAge)
	if r.Idle > 0 {
		patience += ", idle time " + duration(r.Idle)
	}
	return fmt.Sprintf("%s from %s for %s, %s; sockleak %s, kernel %s", r.Scope,
		r.Started.Format(time.RFC3339), duration(r.Duration), patience, r.Version, r.Kernel)
}
