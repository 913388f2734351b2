package report

import (
	"fmt"
	"slices"
	"strings"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// How much of a list a reader is shown; JSON has all of it.
const (
	maxPeers   = 3
	maxThreads = 3
	maxHolders = 3
	maxRanges  = 12
)

// finding is laid out as the questions come: what, where, since when, how fast, to
// whom, why we say so, what to do; then what it takes to look for oneself.
func (t *text) finding(n int, f *verdict.Finding) {
	t.para(bold, fmt.Sprintf("%d. ", n), bold, title(f))
	t.para(plain, "   ", plain, counted(f.Count, "socket", "sockets")+" in "+processName(f.Process))
	t.blank()
	t.requested(f.RequestedAt)
	t.where(&f.Origin, askedOrigin(f.RequestedAt) != nil)
	t.accepted(f.AcceptedFrom)
	t.blank()
	t.field(either(len(f.Threads), "thread", "threads"), threadsWords(f.Threads))
	for i := range f.LastUse {
		t.field("last use", lastUseWords(&f.LastUse[i]))
	}
	t.field("opened", openedWords(f))
	t.count(f)
	t.field("peers", leakedPeers(f))
	t.field("states", statesWords(f.States))
	t.field("queues", queueWords(f.Sockets))
	for i, e := range f.Evidence {
		label := ""
		if i == 0 {
			label = "evidence"
		}
		t.para(dim, fmt.Sprintf("   %-10s - ", label), plain, e)
	}
	t.field("advice", adviceWords(f))
	t.field("confidence", confidenceWords(f.Confidence))
	t.field("held by", holdersWords(f.Sockets))
	if o := askedOrigin(f.RequestedAt); o != nil {
		t.stack("asked on", o, f.Process.Exe)
	}
	t.stack("stack", &f.Origin, f.Process.Exe)
}

// lastUseWords says what the program was told last, and where: the line to look at
// beside the one that made the sockets. Its stack is not shown, so what is wrong with
// it is said here.
func lastUseWords(l *verdict.LastUse) string {
	words := fmt.Sprintf("%s: %s, on %s", l.Operation, l.Result, counted(l.Count, "socket", "sockets"))
	if why := nowhere(&l.Origin); why != "" {
		return words + ", at an unknown line: " + why
	}
	lead := ", in "
	if l.Origin.Inferred {
		lead = ", likely in "
	}
	f := l.Origin.Frames[*l.Origin.Culprit]
	words += lead + functionOf(f)
	if at := placeOf(f); at != "" {
		words += " at " + at
	}
	if l.Origin.Quality == stack.Partial {
		words += " (" + stackWords(&l.Origin) + ")"
	}
	return words
}

// threadsWords names the threads that made the sockets.
func threadsWords(threads []verdict.Thread) string {
	var names []string
	for _, t := range threads {
		names = append(names, t.Comm)
	}
	return most(names, maxThreads)
}

// adviceWords says what to do, and where there is more about it.
func adviceWords(f *verdict.Finding) string {
	if f.Advice == "" {
		return ""
	}
	return f.Advice + "; see sockleak explain" + nbsp + string(f.Class)
}

func title(f *verdict.Finding) string {
	if words := classWords(f.Class); words != "" {
		return fmt.Sprintf("%s (%s)", words, f.Class)
	}
	return string(f.Class)
}

// count draws how the number of open sockets moved and says how fast it rises.
func (t *text) count(f *verdict.Finding) {
	words := countWords(f)
	if words == "" {
		return
	}
	const gap = 2
	room := t.room(fieldIndent)
	if room > 0 {
		room = max(room-gap-columns(words), 1)
	}
	levels := blockLevels
	if t.ascii {
		levels = asciiLevels
	}
	drawn := sparkline(f.Series, room, levels)
	if drawn != "" {
		words = drawn + strings.Repeat(" ", gap) + words
	}
	t.field("count", words)
}

// countWords is empty if the count was not followed: it stands in the title.
func countWords(f *verdict.Finding) string {
	words := seriesWords(f.Series)
	switch {
	case f.GrowthPerMin == nil:
		return words
	case words == "":
		words = thousands(f.Count)
	}
	return words + ", " + rate(*f.GrowthPerMin)
}

// where shows the line of code that made the sockets. Why an origin was inferred
// stands in the evidence. asked: where they were asked for was shown before.
func (t *text) where(o *verdict.Origin, asked bool) {
	lead, why := "   created at  ", nowhere(o)
	switch {
	case asked:
		lead = "   made at  "
	case o.Inferred && why == "":
		lead = "   likely created at  "
	}
	if why != "" {
		t.para(bold, lead, bold, "unknown: "+why)
		return
	}
	t.culprit(lead, o.Frames[*o.Culprit])
}

// nowhere says why an origin names no line; empty if it names one.
func nowhere(o *verdict.Origin) string {
	switch {
	case o.Quality == stack.None || len(o.Frames) == 0:
		return reasonOr(o.Reason, "no stack")
	case o.Culprit == nil || *o.Culprit >= len(o.Frames):
		return "no frame of the program's own code on the stack"
	}
	return ""
}

// stack shows how the program got there.
func (t *text) stack(label string, o *verdict.Origin, exe *string) {
	if words := stackWords(o); words != "" {
		t.field(label, words)
		t.frames(o, exe)
	}
}

// stackWords says what a stack is worth; empty if there is none.
func stackWords(o *verdict.Origin) string {
	switch {
	case o.Quality == stack.None || len(o.Frames) == 0:
		return ""
	case o.Quality == stack.Partial:
		return "partial: " + reasonOr(o.Reason, "frames may be missing or wrong")
	}
	return "complete, the last call first"
}

func reasonOr(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}

// culprit writes the line everyone is looking for, on two lines if it must.
func (t *text) culprit(lead string, f stack.Frame) {
	room := t.room(columns(lead))
	name, place := t.clean(functionOf(f)), t.clean(placeOf(f))
	if room == 0 || columns(name)+2+columns(place) <= room {
		t.line(bold, strings.TrimRight(lead+name+"  "+place, " "))
		return
	}
	t.line(bold, lead+shortFunction(name, room))
	if place != "" {
		t.line(bold, strings.Repeat(" ", columns(lead))+shortPath(place, room))
	}
}

// holdersWords says which processes hold the sockets, by which descriptors.
func holdersWords(sockets []verdict.Socket) string {
	type process struct {
		pid  uint32
		comm string
		fds  []int32
	}
	var order []*process
	byPID := map[uint32]*process{}
	for _, s := range sockets {
		for _, h := range s.Holders {
			p := byPID[h.PID]
			if p == nil {
				p = &process{pid: h.PID, comm: h.Comm}
				byPID[h.PID] = p
				order = append(order, p)
			}
			p.fds = append(p.fds, h.FD)
		}
	}
	var entries []string
	for i, p := range order {
		if i == maxHolders {
			rest := counted(len(order)-i, "other process", "other processes")
			entries = append(entries, "and "+rest)
			break
		}
		slices.Sort(p.fds)
		fds, left := ranges(slices.Compact(p.fds), maxRanges)
		if left > 0 {
			fds += " and" + nbsp + thousands(left) + nbsp + "more"
		}
		name := processName(verdict.Process{PID: p.pid, Comm: p.comm})
		entries = append(entries, name+": fd"+nbsp+fds)
	}
	return strings.Join(entries, "; ")
}

func statesWords(states map[string]int) string {
	var entries []string
	for _, s := range byCount(states) {
		entries = append(entries, s+nbsp+thousands(states[s]))
	}
	return strings.Join(entries, ", ")
}

// openedWords says since when the sockets are there.
func openedWords(f *verdict.Finding) string {
	const before = "before tracing began"
	switch o, y := f.OldestAge, f.YoungestAge; {
	case o == nil && y == nil:
		return before
	case o == nil:
		return "the oldest " + before + ", the youngest " + duration(*y) + " ago"
	case y == nil || f.Count == 1 || duration(*o) == duration(*y):
		return duration(*o) + " ago"
	default:
		return "the oldest " + duration(*o) + " ago, the youngest " + duration(*y) + " ago"
	}
}
