package verdict

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// advice is the one line that says what to do.
func advice(c Class) string {
	switch c {
	case NeverUsed:
		return "close the descriptor on every path that leaves the function before connect, bind or listen"
	case ConnectPending:
		return "give connect a time-out, watch the descriptor for its end, and close it when the attempt is given up"
	case ConnectFailed:
		return "close the descriptor when connect fails, also where the failure arrives later (SO_ERROR, EPOLLERR)"
	case PeerClosed:
		return "close the descriptor when a read returns 0; a program that never reads must close after its last use"
	case Dead:
		return "close the descriptor when a call on it fails (ECONNRESET, ETIMEDOUT, EPIPE): it can't be used again"
	case Inherited:
		return "create the socket with SOCK_CLOEXEC, or set FD_CLOEXEC before starting another program"
	case Growing:
		return "find who should close these: every path of the function that creates them, errors and time-outs included"
	}
	return ""
}

// confidence weighs a finding.
func confidence(g *group, c Class, growth *float64) Confidence {
	grows := growth != nil && *growth > 0
	switch c {
	case NeverUsed, ConnectFailed, Dead:
		if len(g.members) > 1 {
			return High
		}
	case PeerClosed:
		if len(g.members) > 2 || grows {
			return High
		}
	case ConnectPending:
		if len(g.members) > 2 && grows {
			return High
		}
	}
	return Medium
}

// evidence says in words why the sockets of a group were found leaked.
func (j *Judge) evidence(g *group, names Names) []string {
	n := len(g.members)
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }

	switch g.members[0].cond.class {
	case NeverUsed:
		add("neither connect, bind nor listen was called on %s", these(n))
	case ConnectPending:
		add("SYN sent and not answered for %s", j.lasted(g))
	case ConnectFailed:
		add("connect failed (%s) and nothing was tried on %s since", reasons(g), these(n))
	case PeerClosed:
		lines = append(lines, recvQ(g)...)
	case Dead:
		add("the connection is gone (%s)", reasons(g))
		if unread := count(g, func(m *member) bool { return m.Facts.Known&event.KnownQueues != 0 && m.Facts.RecvQ > 1 }); unread > 0 {
			add("%d of %d have data that was never read", unread, n)
		}
	case Inherited:
		add("created by %s, which has closed its own", names.Process(g.key.process).Comm)
		add("held only by programs that got the descriptor by fork and kept it across exec: it is not close-on-exec")
	case Growing:
		s := j.groups[g.key]
		add("rose from %d to %d in %s and never fell back", s.counts[0], s.counts[len(s.counts)-1], human(s.span()))
		add("%d opened here since tracing began, %d still open", j.opened[g.key.process][g.key.stack], count(g, func(m *member) bool { return m.Stack != 0 }))
		add("%d of %d moved no data for %s or more", count(g, func(m *member) bool { return j.silent(&m.Socket) }), n, human(time.Duration(j.minAge)))
	}
	return append(lines, j.circumstances(g)...)
}

// circumstances is the evidence that any class can have.
func (j *Judge) circumstances(g *group) []string {
	n := len(g.members)
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if c := g.members[0].cond.class; c != ConnectPending && c != Growing && c != NeverUsed {
		add("in that condition for %s", j.lasted(g))
	}
	if known := count(g, knowsWaiters); known > 0 {
		if alone := count(g, func(m *member) bool { return knowsWaiters(m) && !m.Facts.Waiters }); alone > 0 {
			add("nothing waits on %d of %d: no blocked thread, no poll or epoll", alone, known)
		}
	}
	if before := count(g, func(m *member) bool { return m.Arrival == lifecycle.Preexisting }); before > 0 {
		switch {
		case g.inferred:
			add("%d of %d were opened before tracing began and have no stack; the origin is that of later ones of the same class and peer", before, n)
		case g.rivals > 1:
			add("opened before tracing began; %d origins create such sockets, so none is named", g.rivals)
		default:
			add("opened before tracing began; the origin will be named when one more is leaked while tracing")
		}
	}
	if received := count(g, func(m *member) bool { return m.Arrival == lifecycle.Received }); received > 0 {
		add("%d of %d came without a system call that was seen", received, n)
	}
	if ended := count(g, func(m *member) bool { return m.ended != 0 }); ended > 0 {
		add("%d of %d were open when the process ended, which closed them", ended, n)
	}
	if live := n - count(g, func(m *member) bool { return m.ended != 0 }); live > 0 {
		add("the kernel's tables showed %d open at the end of this report, twice in a row", live)
	}
	return lines
}

func knowsWaiters(m *member) bool {
	return m.ended == 0 && m.Facts.Known&event.KnownWaiters != 0
}

func count(g *group, is func(*member) bool) int {
	n := 0
	for i := range g.members {
		if is(&g.members[i]) {
			n++
		}
	}
	return n
}

func these(n int) string {
	if n == 1 {
		return "it"
	}
	return "these"
}

// lasted says for how long the members have been in their condition.
func (j *Judge) lasted(g *group) string {
	var times []time.Duration
	for _, m := range g.members {
		now := j.looked
		if m.ended != 0 {
			now = m.ended
		}
		times = append(times, time.Duration(now-min(now, m.cond.since)))
	}
	least, most := human(slices.Min(times)), human(slices.Max(times))
	if least == most {
		return least
	}
	return least + " to " + most
}

// reasons counts why connections failed or ended.
func reasons(g *group) string {
	counts := map[string]int{}
	for i := range g.members {
		counts[reason(&g.members[i])]++
	}
	var parts []string
	for _, p := range sortedPeers(counts) {
		if len(counts) == 1 {
			return p.Address
		}
		parts = append(parts, fmt.Sprintf("%d × %s", p.Count, p.Address))
	}
	return strings.Join(parts, ", ")
}

func reason(m *member) string {
	errno := unix.Errno(m.Errno)
	if errno == 0 && !m.Established {
		errno = unix.Errno(m.ConnectErrno)
	}
	switch {
	case errno != 0 && errno != unix.EINPROGRESS:
		return fmt.Sprintf("%s: %s", unix.ErrnoName(errno), errno.Error())
	case m.Established:
		return "both sides finished, or the error was read"
	}
	return "the error was read by the program, or is not known"
}

// recvQ tells from the receive queue how far the program looked.
func recvQ(g *group) []string {
	known := func(m *member) bool { return m.Facts.Known&event.KnownQueues != 0 && m.ended == 0 }
	n := count(g, known)
	if n == 0 {
		return []string{"the peer sent its FIN and the descriptor is still open"}
	}
	var lines []string
	for _, c := range []struct {
		is   func(q uint32) bool
		text string
	}{
		{func(q uint32) bool { return q == 0 }, "Recv-Q is 0: the end of file was read, and still no close"},
		{func(q uint32) bool { return q == 1 }, "Recv-Q is 1: only the FIN is unread, the program never looked again"},
		{func(q uint32) bool { return q > 1 }, "Recv-Q is above 1: data and the FIN are unread"},
	} {
		if k := count(g, func(m *member) bool { return known(m) && c.is(m.Facts.RecvQ) }); k > 0 {
			lines = append(lines, fmt.Sprintf("%d of %d: %s", k, n, c.text))
		}
	}
	return lines
}

// human rounds a duration for reading.
func human(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}
