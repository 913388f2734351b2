package casebook

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// fact is what is known of a case's program when a report was made.
type fact struct {
	counts []bounds // of each Want
	peers  []string
	lines  []string // the marked line of each Want, "file.c:57"
}

// bounds are of a count: the report may be a look older than what the program says
// of itself.
type bounds struct{ least, most int }

// exact: all counts are known but for one that may just be opened or told.
func (f *fact) exact() bool {
	return !slices.ContainsFunc(f.counts, func(b bounds) bool { return b.most-b.least != 2 })
}

// slack is how long after a program has said that it leaked one more it may be
// missing in a report: two looks confirm it, and they are two seconds apart.
const slack = 5 * time.Second

// filling is how long an answer that nobody reads goes on to come: 0.44 s at most
// of 24 by lastrcv of ss -ti, until the second probe of the window.
const filling = 500 * time.Millisecond

// factOf is what is known of a program for a report.
func factOf(p *Program, r *verdict.Report) (fact, error) {
	f := fact{peers: p.knownPeers()}
	for i := range p.Case.Want {
		w := &p.Case.Want[i]
		f.counts = append(f.counts, p.countOf(w, r))
		if w.Asked == "" && w.NoOrigin != "" || w.Library != "" {
			f.lines = append(f.lines, "")
			continue
		}
		l, err := line(p.source, w.Mark)
		if err != nil {
			return fact{}, err
		}
		f.lines = append(f.lines, l)
	}
	return f, nil
}

// countOf bounds how many a finding should have when a report was made.
func (p *Program) countOf(w *Want, r *verdict.Report) bounds {
	at, before, late, ahead := looked(r), 0, slack, time.Duration(0)
	if w.Lag > 0 {
		ahead = slack
	}
	if byHistory(w.Class) {
		// The young count with the old once they are silent for the grace time,
		// which begins when the window is full.
		late = slack + filling + minAge(r)
	}
	class := p.Case.told(w)
	if w.OnlyNew != "" {
		before = p.leakedAt(r.Started, class)
	}
	return bounds{p.leakedAt(at.Add(-w.Lag-late), class) - before - 1, p.leakedAt(at.Add(ahead-w.Lag), class) - before + 1}
}

// byHistory: classes that only growth, or silence, tells.
func byHistory(c verdict.Class) bool { return c == verdict.Abandoned || c == verdict.Growing }

// minAge is --min-age as a report has it.
func minAge(r *verdict.Report) time.Duration { return time.Duration(r.MinAge * float64(time.Second)) }

// owner returns the program whose process a finding is of; nil if it is none's.
// A child is in the process group of its program.
func owner(programs []*Program, f *verdict.Finding) *Program {
	group, err := syscall.Getpgid(int(f.Process.PID))
	i := slices.IndexFunc(programs, func(p *Program) bool {
		return p.PID == int(f.Process.PID) || err == nil && p.PID == group
	})
	if i < 0 {
		return nil
	}
	return programs[i]
}

// ownerless are the findings of a report that are of no program.
func ownerless(programs []*Program, r *verdict.Report) []*verdict.Finding {
	var found []*verdict.Finding
	for i := range r.Findings {
		if f := &r.Findings[i]; owner(programs, f) == nil {
			found = append(found, f)
		}
	}
	return found
}

// judgement is what holds against the findings about one case.
type judgement struct {
	accusations []string // findings of a kind that is never right
	missing     []string // class, count, peer or state is not as wanted
	origins     []string // the origin is not
}

// all are the problems of the last report, in which nothing may be wrong.
func (j *judgement) all() []string {
	return slices.Concat(j.accusations, j.missing, j.origins)
}

// judge holds the findings about one case against what is wanted.
func judge(c *Case, got []verdict.Finding, known fact) judgement {
	var j judgement
	byWant := make([][]*verdict.Finding, len(c.Want))
	for i := range got {
		f := &got[i]
		stray := func(w Want) bool { return w.OnlyNew != "" && w.Before == f.Class }
		if f.Origin.Quality == stack.None && slices.ContainsFunc(c.Want, stray) {
			continue // what was there before is found by what it looks like
		}
		switch w := slices.IndexFunc(c.Want, func(w Want) bool { return w.Class == f.Class }); {
		case w >= 0:
			byWant[w] = append(byWant[w], f)
		default:
			j.accusations = append(j.accusations, "not wanted: "+short(f))
		}
	}
	for i := range c.Want {
		w := &c.Want[i]
		if len(byWant[i]) != 1 {
			j.missing = append(j.missing, fmt.Sprintf("%d findings %s, want 1", len(byWant[i]), w.Class))
			continue
		}
		f := byWant[i][0]
		if n := known.counts[i]; f.Count < n.least || f.Count > n.most {
			j.missing = append(j.missing, fmt.Sprintf("%s: count %d, want %d to %d", w.Class, f.Count, n.least, n.most))
		}
		j.compare(w, f, known, known.lines[i])
	}
	return j
}

// compare holds one finding against what is wanted of it.
func (j *judgement) compare(w *Want, f *verdict.Finding, known fact, line string) {
	peers := known.peers
	if w.Peer != "" {
		peers = []string{w.Peer}
	}
	for _, p := range f.Peers {
		if len(peers) > 0 && !slices.ContainsFunc(peers, func(want string) bool { return samePeer(p.Address, want) }) {
			j.missing = append(j.missing, fmt.Sprintf("peer %s, want %v", p.Address, peers))
		}
	}
	if len(f.Peers) == 0 && len(peers) > 0 {
		j.missing = append(j.missing, fmt.Sprintf("no peer, want %v", peers))
	}
	for _, s := range w.States {
		if f.States[s] == 0 {
			j.missing = append(j.missing, fmt.Sprintf("states %v, want %s among them", f.States, s))
		}
	}
	if w.Holder != "" && !held(f, w.Holder) {
		j.missing = append(j.missing, fmt.Sprintf("no socket is held by %s", w.Holder))
	}
	if problem := wrongOrigin(w, &f.Origin, line); problem != "" {
		j.origins = append(j.origins, problem)
	}
	if problem := wrongAsked(w, f.RequestedAt, line); problem != "" {
		j.origins = append(j.origins, problem)
	}
}

// wrongAsked says what is wrong with where sockets were asked for; empty: nothing.
func wrongAsked(w *Want, r *verdict.Requested, line string) string {
	got := ""
	if r != nil && r.Culprit != nil {
		got = where(r.Frames[*r.Culprit])
	}
	want := fmt.Sprintf("%s (%s)", w.Asked, line)
	if w.Asked != "" && got != want {
		return fmt.Sprintf("asked for at %q, want %s", got, want)
	}
	return ""
}

// samePeer compares an address with one that may have no port.
func samePeer(got, want string) bool {
	host, _, _ := strings.Cut(got, ":")
	if i := strings.LastIndexByte(got, ':'); strings.HasPrefix(got, "[") && i > 0 {
		host = got[:i]
	}
	return got == want || host == want
}

func held(f *verdict.Finding, comm string) bool {
	for i := range f.Sockets {
		if !slices.ContainsFunc(f.Sockets[i].Holders, func(h verdict.Holder) bool { return h.Comm == comm }) {
			return false
		}
	}
	return len(f.Sockets) > 0
}

// wrongOrigin says what is wrong with an origin; empty: nothing.
func wrongOrigin(w *Want, o *verdict.Origin, line string) string {
	var culprit *stack.Frame
	if o.Culprit != nil {
		culprit = &o.Frames[*o.Culprit]
	}
	switch {
	case w.NoOrigin != "" && culprit != nil:
		return fmt.Sprintf("origin %s, but want none: %s", where(*culprit), w.NoOrigin)
	case w.NoOrigin != "":
		return ""
	case culprit != nil && w.Library != "" && sameFunction(culprit.Function, w.Function):
		return ""
	case culprit == nil:
		return fmt.Sprintf("no origin (%s %s), want %s (%s)", o.Quality, o.Reason, w.Function, line)
	case !sameFunction(culprit.Function, w.Function) || place(culprit.File, culprit.Line) != line:
		return fmt.Sprintf("origin %s, want %s (%s)", where(*culprit), w.Function, line)
	}
	return ""
}

// sameFunction compares without the parameters, which demangled names have.
func sameFunction(got, want string) bool {
	return got == want || strings.HasPrefix(got, want+"(")
}

func place(file string, line int) string {
	return fmt.Sprintf("%s:%d", path.Base(file), line)
}
