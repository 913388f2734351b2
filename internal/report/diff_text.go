package report

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Text writes the diff for a reader, the largest groups first. It uses Width and
// Color of o, and shows the first top groups (zero: all). An error of w is
// returned as it is.
func (d *Diff) Text(w io.Writer, o TextOptions, top int) error {
	p := newPage(o)
	n := d.Totals
	p.para(plain, "", bold, fmt.Sprintf("%s: %s since %s (%s ago)", d.Scope,
		counted(n.New, "new socket", "new sockets"), d.Since.Format(time.RFC3339), duration(d.Time.Sub(d.Since).Seconds())))
	p.para(plain, "", plain, fmt.Sprintf("Of those open then, %s gone and %s still open", are(n.Gone), thousands(n.Kept)))
	if slices.ContainsFunc(d.Groups, func(g DiffGroup) bool { return g.State == "CLOSE" }) {
		p.para(plain, "* ", yellow, "in CLOSE with a descriptor still open: ss(8) does not list them")
	}
	shown := d.Groups
	if top > 0 && top < len(shown) {
		shown = shown[:top]
	}
	if len(shown) > 0 {
		p.blank()
		p.line(dim, fmt.Sprintf("%7s  %-5s  %-10s  %s", "New", "Netid", "State", "Process"))
	}
	for i := range shown {
		p.diffGroup(&shown[i])
	}
	if left := len(d.Groups) - len(shown); left > 0 {
		p.para(plain, "", plain, "Left out by --top: "+counted(left, "more group", "more groups"))
	}
	p.blank()
	p.para(dim, "", dim, fmt.Sprintf("at %s; sockleak %s, kernel %s", d.Time.Format(time.RFC3339), d.Version, d.Kernel))
	_, err := w.Write(p.buf.Bytes())
	return err
}

func are(n int) string {
	if n == 1 {
		return "1" + nbsp + "is"
	}
	return thousands(n) + nbsp + "are"
}

func (p *page) diffGroup(g *DiffGroup) {
	state, st := groupState(g.State)
	p.groupLine(st, fmt.Sprintf("%7s  %-5s  %-10s  ", thousands(g.Count), g.NetID, state), holdingName(&g.Process))
	if g.Peer != nil {
		p.detail("peer", *g.Peer)
	}
	p.detail("local", peersWords(g.Locals, g.Count))
	p.detail("proto", protocolWords(g.Family, g.Protocol))
	p.detail("fds", firstRanges(g.FDs))
}
