package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// How much of a list a reader is shown; JSON has all of it.
const (
	maxPeers   = 3
	maxHolders = 3
	maxRanges  = 12
)

func (t *text) finding(n int, f *verdict.Finding) {
	number := fmt.Sprintf("%d. ", n)
	title := string(f.Class)
	if words := classWords(f.Class); words != "" {
		title = fmt.Sprintf("%s (%s)", words, f.Class)
	}
	t.para(bold, number, bold, title)

	size := counted(f.Count, "socket", "sockets") + " in " + processName(f.Process)
	if f.GrowthPerMin != nil {
		size += ", " + rate(*f.GrowthPerMin)
	}
	t.para(plain, "   ", plain, size)
	t.blank()
	t.requested(f.RequestedAt, f.Process.Exe)
	t.origin(&f.Origin, f.Process.Exe, f.RequestedAt != nil)
	t.accepted(f.AcceptedFrom)
	t.blank()

	var states []string
	for _, s := range byCount(f.States) {
		states = append(states, s+nbsp+thousands(f.States[s]))
	}
	t.field("states", strings.Join(states, ", "))
	t.field("peers", peersWords(f.Peers))
	t.field("held by", holdersWords(f.Sockets))
	t.field("age", ageWords(f))
	t.field("queues", queueWords(f.Sockets))
	t.sockets(f.Sockets)
	for i, e := range f.Evidence {
		label := ""
		if i == 0 {
			label = "evidence"
		}
		t.para(dim, fmt.Sprintf("   %-10s - ", label), plain, e)
	}
	t.field("advice", f.Advice)
	t.field("confidence", confidenceWords(f.Confidence))
}

// origin shows where the sockets were made: the line first, then the stack. Why
// an origin was inferred stands in the evidence. asked: where they were asked for
// was shown before.
func (t *text) origin(o *verdict.Origin, exe *string, asked bool) {
	lead := "   created at  "
	switch {
	case asked:
		lead = "   made at  "
	case o.Inferred:
		lead = "   likely created at  "
	}
	switch {
	case o.Quality == stack.None || len(o.Frames) == 0:
		t.para(bold, lead, bold, "unknown: "+reasonOr(o.Reason, "no stack"))
		return
	case o.Culprit == nil || *o.Culprit >= len(o.Frames):
		t.para(bold, lead, bold, "unknown: no frame of the program's own code on the stack")
	default:
		t.culprit(lead, o.Frames[*o.Culprit])
	}
	t.blank()
	t.stack(o, exe)
	if o.Quality == stack.Partial {
		t.prose(yellow, "      the stack is partial: ", plain, reasonOr(o.Reason, "frames may be missing or wrong"))
	}
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
	name, place := functionOf(f), placeOf(f)
	if room == 0 || columns(name)+2+columns(place) <= room {
		t.line(bold, strings.TrimRight(lead+name+"  "+place, " "))
		return
	}
	t.line(bold, lead+shortFunction(name, room))
	if place != "" {
		t.line(bold, strings.Repeat(" ", columns(lead))+shortPath(place, room))
	}
}

func peersWords(peers []verdict.Peer) string {
	var entries []string
	for _, p := range peers {
		entries = append(entries, fmt.Sprintf("%s%s(%s)", p.Address, nbsp, thousands(p.Count)))
	}
	return most(entries, maxPeers)
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

func ageWords(f *verdict.Finding) string {
	const before = "opened before tracing began"
	switch o, y := f.OldestAge, f.YoungestAge; {
	case o == nil && y == nil:
		return before
	case o == nil:
		return "oldest " + before + ", youngest " + duration(*y)
	case y == nil || f.Count == 1 || duration(*o) == duration(*y):
		return duration(*o)
	default:
		return "oldest " + duration(*o) + ", youngest " + duration(*y)
	}
}

// queueWords says how much waits in the sockets' queues. What is not data is
// left out: in CLOSE-WAIT the peer's FIN takes one in Recv-Q until the program
// has read the end of the stream, and in CLOSE a single one may be that FIN; in
// SYN-SENT Send-Q holds the SYN, and in CLOSE what was left in it.
func queueWords(sockets []verdict.Socket) string {
	var unread, unacked uint64
	var withUnread, withUnacked int
	for _, s := range sockets {
		if s.State == "LISTEN" {
			continue
		}
		if s.RecvQ != nil {
			data := uint64(*s.RecvQ)
			if data > 0 && (s.State == "CLOSE-WAIT" || s.State == "CLOSE" && data == 1) {
				data--
			}
			unread += data
			withUnread += positive(data)
		}
		if s.SendQ != nil && s.State != "SYN-SENT" && s.State != "CLOSE" {
			unacked += uint64(*s.SendQ)
			withUnacked += positive(uint64(*s.SendQ))
		}
	}
	var parts []string
	if unread > 0 {
		parts = append(parts, fmt.Sprintf("Recv-Q: %s never read on %s",
			counted(unread, "byte", "bytes"), counted(withUnread, "socket", "sockets")))
	}
	if unacked > 0 {
		parts = append(parts, fmt.Sprintf("Send-Q: %s not acknowledged on %s",
			counted(unacked, "byte", "bytes"), counted(withUnacked, "socket", "sockets")))
	}
	return strings.Join(parts, "; ")
}

func positive(n uint64) int {
	if n > 0 {
		return 1
	}
	return 0
}

// sockets lists the first sockets one by one.
func (t *text) sockets(list []verdict.Socket) {
	n := min(t.options.Sockets, len(list))
	for i, s := range list[:n] {
		label := ""
		if i == 0 {
			label = "sockets"
		}
		t.para(dim, fmt.Sprintf("   %-10s ", label), plain, socketWords(&s))
	}
	if n > 0 && n < len(list) {
		t.field("", "and"+nbsp+thousands(len(list)-n)+nbsp+"more")
	}
}

func socketWords(s *verdict.Socket) string {
	words := []string{"inode" + nbsp + strconv.FormatUint(s.Inode, 10), s.State}
	if s.Local != nil || s.Remote != nil {
		words = append(words, addressOr(s.Local)+" -> "+addressOr(s.Remote))
	}
	for i, h := range s.Holders {
		if i == maxHolders {
			words = append(words, "and"+nbsp+thousands(len(s.Holders)-i)+nbsp+"more")
			break
		}
		words = append(words, fmt.Sprintf("pid%s%d%sfd%s%d", nbsp, h.PID, nbsp, nbsp, h.FD))
	}
	if s.Age != nil {
		words = append(words, duration(*s.Age)+nbsp+"old")
	}
	return strings.Join(words, ", ")
}

func addressOr(a *string) string {
	if a == nil {
		return "*"
	}
	return *a
}
