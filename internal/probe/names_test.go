package probe

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sockleak/internal/event"
)

// names gives what differs from run to run a number in the order in which it
// is first seen, so that whole events can be compared as text.
type names struct {
	pid                                    uint32
	inodes, tables, tids, starts, children map[uint64]int
	ports                                  map[uint16]int
}

func newNames(pid int) *names {
	return &names{
		pid: uint32(pid), inodes: map[uint64]int{0: 0}, tables: map[uint64]int{}, tids: map[uint64]int{},
		starts: map[uint64]int{}, children: map[uint64]int{}, ports: map[uint16]int{},
	}
}

func (n *names) copy() *names {
	c := *n
	c.inodes, c.tables, c.tids = maps.Clone(n.inodes), maps.Clone(n.tables), maps.Clone(n.tids)
	c.starts, c.children, c.ports = maps.Clone(n.starts), maps.Clone(n.children), maps.Clone(n.ports)
	return &c
}

// table is a table's number; the first that is seen is the worker's.
func (n *names) table(id uint64) int { return number(n.tables, id) }

// number is the next free one for a new key. Inode zero has number zero.
func number[K comparable](m map[K]int, key K) int {
	if _, ok := m[key]; !ok {
		m[key] = len(m)
	}
	return m[key]
}

// events are those of processes in their order, then those of each TCP socket
// in theirs: a kernel may do the work of the other end at once or later.
func (n *names) events(all []event.Event) string {
	var b strings.Builder
	var tcp []event.Event
	for _, ev := range all {
		if ev.Kind == event.TCPState || ev.Kind == event.TCPDestroy {
			tcp = append(tcp, ev)
			continue
		}
		b.WriteString(n.event(ev) + "\n")
	}
	for _, ev := range tcp {
		number(n.inodes, ev.Inode)
	}
	slices.SortStableFunc(tcp, func(a, b event.Event) int {
		return cmp.Compare(n.inodes[a.Inode], n.inodes[b.Inode])
	})
	for _, ev := range tcp {
		b.WriteString(n.event(ev) + "\n")
	}
	return b.String()
}

var kinds = map[event.Kind]string{
	event.Socket: "socket", event.Pair: "pair", event.Accept: "accept", event.Connect: "connect",
	event.Close: "close", event.CloseRange: "close_range", event.Dup: "dup", event.TCPState: "tcp",
	event.TCPDestroy: "destroy", event.Fork: "fork", event.Exec: "exec", event.ExecFDs: "exec-fds",
	event.Exit: "exit", event.TableExit: "table-exit", event.Unshare: "unshare", event.Use: "use",
}

// fields writes name=value for all that is not zero.
type fields struct{ strings.Builder }

func (f *fields) add(name string, value any) { fmt.Fprintf(f, " %s=%v", name, value) }

func (f *fields) number(name string, value int64) {
	if value != 0 {
		f.add(name, value)
	}
}

func (f *fields) text(name, value string) {
	if value != "" {
		f.add(name, value)
	}
}

func (f *fields) flag(name string, set bool) {
	if set {
		f.WriteString(" " + name)
	}
}

// event is every field of an event.
func (n *names) event(ev event.Event) string {
	var f fields
	f.WriteString(kinds[ev.Kind])
	n.who(&f, ev)
	f.number("fd", int64(ev.FD))
	if ev.Kind == event.ExecFDs {
		// As far as the table reaches: that depends on what was inherited.
		f.flag("WRONG-END", (ev.FD2+1)%64 != 0)
	} else {
		f.number("fd2", int64(ev.FD2))
	}
	f.number("inode", int64(number(n.inodes, ev.Inode)))
	f.number("inode2", int64(number(n.inodes, ev.Inode2)))
	if ev.Op != 0 {
		f.add("op", ops[ev.Op])
	}
	f.number("errno", int64(ev.Errno))
	if ev.ChildPID != 0 {
		f.add("child", number(n.children, uint64(ev.ChildPID)))
		f.flag("child-start", ev.ChildStart != 0)
	}
	f.flag("cloexec", ev.CloseOnExec)
	f.flag("alone", ev.Alone)
	f.flag("stack", ev.Stack != 0)
	f.flag("begin", ev.Begin != 0)
	if len(ev.OpenFDs) > 0 {
		f.add("open", openFDs(ev))
	}
	if ev.OldState != 0 {
		f.add("was", event.StateName(event.Sock{Family: ev.Sock.Family, Type: ev.Sock.Type, State: ev.OldState}))
	}
	f.flag("OTHER-STATE", ev.Kind == event.TCPState && ev.NewState != ev.Sock.State)
	if ev.Sock != (event.Sock{}) {
		f.add("sock", n.sock(ev.Sock))
	}
	return f.String()
}

// who is the process, thread and table. Those of the worker's own are left out.
func (n *names) who(f *fields, ev event.Event) {
	if ev.PID != 0 && ev.PID != n.pid {
		f.add("pid", fmt.Sprint("child", number(n.children, uint64(ev.PID))))
	}
	// Which thread of a Go program is the last to end is chance.
	f.flag("other-thread", ev.TID != ev.PID && ev.Kind != event.Exit)
	f.flag("NO-START", ev.PID != 0 && ev.Start == 0)
	f.flag("NO-TIME", ev.Time == 0)
	if ev.Table != 0 {
		if t := n.table(ev.Table); t != 0 {
			f.add("table", t)
		}
	}
	if ev.Table2 != 0 {
		f.add("table2", n.table(ev.Table2))
	}
	if c := event.Comm(&ev.Comm); c != "" {
		f.add("comm", c)
	}
	// Of a birth there is always one, and it is often the process's.
	birth := ev.Kind == event.Socket || ev.Kind == event.Pair || ev.Kind == event.Accept
	if ev.Thread != ev.Comm && (birth || ev.Thread[0] != 0) {
		f.add("thread", event.Comm(&ev.Thread))
	}
}

// openFDs are the descriptors that the test has to do with: standard input and
// those from firstFD to 99. Others are the runtime's, or were inherited.
func openFDs(ev event.Event) []int32 {
	var open []int32
	for i, b := range ev.OpenFDs {
		for bit := range 8 {
			fd := ev.FD + int32(i*8+bit)
			if b>>bit&1 != 0 && (fd == 0 || fd >= firstFD && fd < 100) {
				open = append(open, fd)
			}
		}
	}
	return open
}

func (n *names) sock(s event.Sock) string {
	text := event.NetID(s)
	if s.Family == afInet6 {
		text += "6"
	}
	text += "/" + event.StateName(s)
	if s.Local.IsValid() || s.Remote.IsValid() {
		text += "/" + n.address(s.Local) + ">" + n.address(s.Remote)
	}
	return text
}

func (n *names) address(a netip.AddrPort) string {
	if !a.IsValid() {
		return "-"
	}
	if a.Port() < 1024 {
		return a.String()
	}
	return fmt.Sprintf("%s:P%d", a.Addr(), number(n.ports, a.Port()))
}

// rows is every field of every row of a snapshot.
func (n *names) rows(rows []event.Row) string {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(n.row(row) + "\n")
	}
	return b.String()
}

// unixName leaves out of an AF_UNIX name what differs from run to run: the pid,
// and what autobind chose (unix(7): five hexadecimal digits).
func (n *names) unixName(name string) string {
	if len(name) == len("@00001") && strings.Trim(name[1:], "0123456789abcdef") == "" {
		return name[:1] + "AUTO"
	}
	return strings.ReplaceAll(name, fmt.Sprint(n.pid), "PID")
}

func (n *names) row(r event.Row) string {
	var f fields
	fmt.Fprintf(&f, "fd=%d inode=%d sock=%s", r.FD, number(n.inodes, r.Inode), n.sock(r.Sock))
	if t := n.table(r.Table); t != 0 {
		f.add("table", t)
	}
	f.flag("NO-TIME", r.Time == 0)
	f.flag("NO-START", r.Start == 0)
	f.flag("NO-COMM", event.Comm(&r.Comm) == "")
	x := r.Facts
	f.flag("NO-NETNS", x.NetNS == 0)
	f.add("known", known(x.Known))
	f.number("peer", int64(number(n.inodes, x.PeerInode)))
	f.flag("peer-gone", x.PeerGone)
	f.text("local", n.unixName(x.UnixNames().Local))
	f.text("remote", n.unixName(x.UnixNames().Remote))
	f.number("err", int64(x.Err))
	f.number("recv-q", int64(x.RecvQ))
	f.number("send-q", int64(x.SendQ))
	f.number("unacked", int64(x.Unacked))
	// How often by now is up to the clock.
	f.flag("retransmits", x.Retransmits > 0)
	f.flag("probes", x.Probes > 0)
	f.number("in", int64(x.BytesIn))
	f.number("out", int64(x.BytesOut))
	const minute = 60e9 // more than any test takes
	f.flag("LAST-RX", x.LastRx > minute)
	f.flag("LAST-TX", x.LastTx > minute)
	f.flag("begun", x.Begun)
	f.flag("was-established", x.WasEstablished)
	f.flag("bound", x.Bound)
	f.flag("keepalive", x.KeepAlive)
	f.flag("cloexec", x.CloseOnExec)
	f.flag("waiters", x.Waiters)
	f.flag("rcv-shutdown", x.RcvShutdown)
	f.flag("snd-shutdown", x.SndShutdown)
	return f.String()
}

// known has a letter for each group of facts.
func known(set event.FactSet) string {
	text := ""
	for i, letter := range "qabhwkldup" {
		if set>>i&1 != 0 {
			text += string(letter)
		}
	}
	return text
}

var ops = map[event.Op]string{
	event.Read: "read", event.Write: "write", event.Shutdown: "shutdown", event.EpollDel: "epoll-del", event.SOError: "so-error",
}
