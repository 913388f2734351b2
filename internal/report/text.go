package report

import (
	"fmt"
	"io"
	"math"
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
	// AllFrames shows the frames that are folded away otherwise.
	AllFrames bool
	// Sockets is how many sockets of each finding are listed one by one.
	Sockets int
}

// Text writes the report for a reader: the answer in the first line, then what
// it rests on. An error of w is returned as it is.
func Text(w io.Writer, r *verdict.Report, o TextOptions) error {
	t := &text{page: newPage(o.Width, o.Color), options: o}
	t.headline(r)
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
	t.totals(r.Totals)
	t.footer(r)
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
	reasons := r.Reasons
	watched := "watched for " + duration(r.Duration)
	first := func(otherwise string) string {
		if len(reasons) == 0 {
			return otherwise
		}
		s := reasons[0]
		reasons = reasons[1:]
		return s
	}
	switch r.Verdict {
	case verdict.Leak:
		reasons = reasons[min(1, len(reasons)):] // the first says the same in fewer words
		t.prose(plain, "", red, leakWords(r)+", "+watched)
	case verdict.NoLeak:
		t.prose(bold, "no socket leak: ", bold, first(watched))
	case verdict.Inconclusive:
		t.prose(yellow, "inconclusive: ", yellow, first(watched))
	}
	for _, s := range reasons {
		t.para(plain, "- ", plain, s)
	}
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

// limits shows the processes that run out of descriptors, that leak, or that
// are the only one: a report on the whole system has a limit for each process.
func (t *text) limits(r *verdict.Report) {
	leaking := map[uint32]bool{}
	for _, f := range r.Findings {
		leaking[f.Process.PID] = true
	}
	for _, l := range r.Limits {
		warn := l.Used >= l.NoFile || l.ExhaustedIn != nil && *l.ExhaustedIn < soon
		if len(r.Limits) > 1 && !warn && !leaking[l.PID] && l.Used < l.NoFile/2 {
			continue
		}
		name := processName(verdict.Process{PID: l.PID, Comm: l.Comm})
		st := plain
		if warn {
			st = yellow
		}
		t.prose(st, name+": ", st, limitWords(l))
	}
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

// loss says what is missing from the record and what that does to the answer.
func (t *text) loss(l verdict.Loss) {
	if n := l.Events(); n > 0 {
		s := counted(n, "event", "events") + " (" + lossKinds(l.Loss) + "), so the counts of opened and closed are too low. "
		switch l.Reconciles {
		case 0:
			s += "The table was not compared with the kernel's own afterwards: \"not closed\" means \"not seen closed\"."
		default:
			s += fmt.Sprintf("What is open is still right: the table was compared with the kernel's own %s, which corrected %s.",
				counted(l.Reconciles, "time", "times"), counted(l.Repaired, "descriptor", "descriptors"))
		}
		t.prose(yellow, "lost: ", plain, s)
	}
	if l.StackMissing > 0 {
		t.prose(yellow, "lost: ", plain, counted(l.StackMissing, "stack", "stacks")+
			" could not be taken: sockets opened there are counted, but have no line of code.")
	}
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

func (t *text) totals(n verdict.Totals) {
	s := fmt.Sprintf("%s opened, %s closed, %s live", thousands(n.Opened), thousands(n.Closed), thousands(n.Live))
	if n.Preexisting > 0 {
		s += " (" + thousands(n.Preexisting) + " from before tracing)"
	}
	if n.Winding > 0 {
		s += ", " + thousands(n.Winding) + " closed by the program and winding down in the kernel"
	}
	if n.TimeWait != nil && *n.TimeWait > 0 {
		s += ", " + thousands(*n.TimeWait) + " in TIME-WAIT"
	}
	t.prose(bold, "sockets: ", plain, s)
}

// footer says what a report that was pasted somewhere is about.
func (t *text) footer(r *verdict.Report) {
	s := fmt.Sprintf("%s from %s for %s, grace time %s, idle after %s; sockleak %s, kernel %s", r.Scope,
		r.Started.Format(time.RFC3339), duration(r.Duration), duration(r.MinAge), duration(r.Idle), r.Version, r.Kernel)
	t.prose(dim, "", dim, s)
}
