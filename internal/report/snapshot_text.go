package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"sockleak/internal/verdict"
)

// Text writes the snapshot for a reader, the largest groups first, the columns
// named as ss(8) does. It uses Width and Color of o, and shows the first top
// groups (zero: all). An error of w is returned as it is.
func (s *Snapshot) Text(w io.Writer, o TextOptions, top int) error {
	p := newPage(o)
	n := s.Totals
	p.para(plain, "", bold, fmt.Sprintf("%s: %s open, by %s in %s", s.Scope,
		counted(n.Sockets, "socket", "sockets"),
		counted(n.Descriptors, "descriptor", "descriptors"),
		counted(n.Processes, "process", "processes")))
	if n.Closed > 0 {
		p.para(plain, "* ", yellow, counted(n.Closed, "TCP socket is", "TCP sockets are")+
			" in CLOSE with a descriptor still open; ss(8) does not list them")
	}
	shown := s.Groups
	if top > 0 && top < len(shown) {
		shown = shown[:top]
	}
	if len(shown) > 0 {
		p.blank()
		p.line(dim, fmt.Sprintf("%7s  %-5s  %-10s  %9s  %9s  %s", "Sockets", "Netid", "State", "Recv-Q", "Send-Q", "Process"))
	}
	for i := range shown {
		p.group(&shown[i])
	}
	if left := len(s.Groups) - len(shown); left > 0 {
		p.para(plain, "", plain, "Left out by --top: "+counted(left, "more group", "more groups"))
	}
	p.blank()
	p.para(dim, "", dim, fmt.Sprintf("at %s; sockleak %s, kernel %s", s.Time.Format(time.RFC3339), s.Version, s.Kernel))
	_, err := w.Write(p.buf.Bytes())
	return err
}

// group writes a row of the table and, below it, what has no column.
func (p *page) group(g *Group) {
	state, st := groupState(g.State)
	lead := fmt.Sprintf("%7s  %-5s  %-10s  %9s  %9s  ", thousands(g.Count), g.NetID, state, sumOr(g.RecvQ), sumOr(g.SendQ))
	p.groupLine(st, lead, holdingName(&g.Process))
	p.detail("", pastWords(g.Past))
	p.detail("peers", peersWords(g.Peers, g.Count))
	p.detail("local", peersWords(g.Locals, g.Count))
	p.detail("proto", protocolWords(g.Family, g.Protocol))
	p.detail("gone", goneWords(g.PeerGone))
	p.detail("idle", idleWords(g))
	p.detail("fds", firstRanges(g.FDs))
}

// groupState marks the states that a descriptor should not be left in.
func groupState(state string) (string, style) {
	switch state {
	case "CLOSE":
		return state + " *", yellow
	case "CLOSE-WAIT":
		return state, yellow
	}
	return state, plain
}

// groupLine writes the columns of a group and the process, below them if it
// doesn't fit beside them.
func (p *page) groupLine(st style, lead, process string) {
	if room := p.room(columns(lead)); room > 0 && room < columns(process) {
		p.line(st, strings.TrimRight(lead, " "))
		p.detail("of", process)
		return
	}
	p.para(st, lead, plain, process)
}

// detail writes what has no column; no text, no detail.
func (p *page) detail(label, text string) {
	if text != "" {
		p.para(dim, fmt.Sprintf("%9s%-5s  ", "", label), plain, text)
	}
}

func holdingName(h *Holding) string {
	return processName(verdict.Process{PID: h.PID, Comm: h.Comm, Container: h.Container})
}

// protocolWords names the protocol where Netid does not.
func protocolWords(family, protocol string) string {
	switch family {
	case "inet", "inet6", "unix":
		return ""
	}
	return protocol
}

func goneWords(n *int) string {
	if n == nil || *n == 0 {
		return ""
	}
	return "the peer of " + thousands(*n) + nbsp + "is closed"
}

func sumOr(n *uint64) string {
	if n == nil {
		return "-"
	}
	return thousands(*n)
}

func pastWords(p *Past) string {
	if p == nil {
		return ""
	}
	var parts []string
	add := func(n int, words string) {
		if n > 0 {
			parts = append(parts, thousands(n)+nbsp+words)
		}
	}
	add(p.Unused, "never connected")
	add(p.Failed, "failed to connect")
	add(p.Ended, "connected once")
	add(p.Unknown, "with an unknown past")
	return strings.Join(parts, ", ")
}

// idleWords says what the group is not doing. A listener receives no data, so
// its silence tells nothing.
func idleWords(g *Group) string {
	var parts []string
	if g.OldestRx != nil && *g.OldestRx >= 1 && g.State != "LISTEN" {
		parts = append(parts, "nothing received for up to "+duration(*g.OldestRx))
	}
	if g.NotWaitedOn != nil && *g.NotWaitedOn > 0 {
		parts = append(parts, "nothing waits on "+thousands(*g.NotWaitedOn))
	}
	return strings.Join(parts, "; ")
}

// firstRanges shortens a list of ranges to what a reader may want to see.
func firstRanges(fds string) string {
	parts := strings.Split(fds, ",")
	if len(parts) <= maxRanges {
		return fds
	}
	return strings.Join(parts[:maxRanges], ",") + ", ..."
}
