package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/words"
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
	case HalfClosed:
		return "close the descriptor, with a time limit: shutdown(SHUT_WR) waits for the peer's FIN, which may never come, and frees nothing"
	case HalfOpen:
		return "turn on keepalive (SO_KEEPALIVE, TCP_KEEPIDLE) or set TCP_USER_TIMEOUT, and close the descriptor when it strikes"
	case Superseded:
		return "when a peer comes back, close the connection it had before; and give silent connections a time limit"
	case Abandoned:
		return "find who should read on or close: every path of the function that creates them, errors, time-outs and large answers included"
	case Inherited:
		return "create the socket with SOCK_CLOEXEC, or set FD_CLOEXEC before starting another program"
	case Growing:
		return "find who should close these: every path of the function that creates them, errors and time-outs included"
	}
	return ""
}

// confidence weighs a finding.
func confidence(g *group, c Class, growth *float64) Confidence {
	if blind(g, c) {
		return Low
	}
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
	case HalfOpen, Superseded:
		if len(g.members) > 2 {
			return High
		}
	case Abandoned:
		if count(g, isUnread) > 2 && grows {
			return High
		}
	case ConnectPending:
		if len(g.members) > 2 && grows {
			return High
		}
	}
	return Medium
}

// blind reports whether what would acquit the sockets can't be known of any.
func blind(g *group, c Class) bool {
	return count(g, func(m *member) bool { return !unknowable(m, c) }) == 0
}

func unknowable(m *member, c Class) bool {
	known := m.Facts.Known
	switch c {
	case NeverUsed: // bind makes no event
		return known&event.KnownBound == 0
	case PeerClosed: // data that still goes out
		return m.ended == 0 && m.Sock.IsTCP() && known&event.KnownActivity == 0
	case Inherited: // use by the new program; a listener is used by waiting
		return known&event.KnownActivity == 0 && m.Sock.State != event.StateListen
	}
	return false
}

// lines collects sentences.
type lines []string

func (l *lines) add(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

// evidence says in words why the sockets of a group were found leaked.
func (j *Judge) evidence(g *group, names Names) []string {
	var l lines
	n := len(g.members)
	switch class := g.members[0].cond.class; class {
	case NeverUsed:
		if blind(g, class) {
			l.add("neither connect nor listen was called on %s; whether bind was is not known", these(n))
		} else {
			l.add("neither connect, bind nor listen was called on %s", these(n))
		}
		if k := count(g, func(m *member) bool { return m.Arrival == lifecycle.Preexisting }); k > 0 {
			l.add("of %s, from before tracing, that is what the kernel shows; a connect that failed at once, as without a route, leaves nothing to see",
				some(k, n))
		}
	case ConnectPending:
		l.add("SYN sent and not answered for %s", j.lasted(g, anyone))
	case ConnectFailed:
		l.add("connect failed (%s) and nothing was tried on %s since", reasons(g), these(n))
	case HalfClosed:
		unread := count(g, func(m *member) bool { return m.Facts.Known&event.KnownQueues != 0 && m.Facts.RecvQ > 0 })
		if unread == 0 {
			l.add("this side sent its FIN and the peer acknowledged it (FIN-WAIT-2): the peer's own never came, nor data")
			break
		}
		l.add("this side sent its FIN and the peer acknowledged it (FIN-WAIT-2): the peer's own never came")
		l.add("%s data that nobody reads: the peer can't finish before", share(unread, n, "has", "have"))
	case HalfOpen:
		delivery(&l, g)
	case Superseded:
		l.add("%s made a newer connection to the same port and %s it; %s silent since before it began",
			words.Counted(len(byAddress(g)), "peer", "peers"), either(len(byAddress(g)), "uses", "use"), share(n, n, "has been", "have been"))
	case Abandoned:
		if k := count(g, isUnread); k > 0 {
			l.add("%s data that nobody reads: Recv-Q stood still, and nothing came or went for %s",
				share(k, n, "has", "have"), j.lasted(g, isUnread))
		}
		if count(g, isUnread) < n {
			j.rose(&l, g)
		}
	case PeerClosed:
		if g.members[0].Sock.Family == afUnix {
			l.add("the AF_UNIX peer was closed (the state stays ESTAB) and the descriptor is still open")
			break
		}
		l = recvQ(g)
		if blind(g, class) {
			l.add("whether data still goes out can't be known")
		}
	case Dead:
		if k := count(g, func(m *member) bool { return m.Listened }); k > 0 {
			l.add("%s shut down: the kernel took %s back, and no client can come",
				share(k, n, "was a listener that was", "were listeners that were"), either(k, "its port", "their ports"))
			if k == n {
				break
			}
		}
		l.add("%s gone (%s)", either(n, "the connection is", "the connections are"), reasons(g))
		unread := count(g, func(m *member) bool { return m.Facts.Known&event.KnownQueues != 0 && m.Facts.RecvQ > 1 })
		if unread > 0 {
			l.add("%s data that was never read", share(unread, n, "has", "have"))
		}
	case Inherited:
		l.add("created by %s, which holds %s no more", names.Process(g.key.process).Comm, either(n, "it", "them"))
		l.add("held only by programs that got the descriptor by fork and kept it across exec: %s not close-on-exec", either(n, "it is", "they are"))
	case Growing:
		j.rose(&l, g)
	}
	j.circumstances(&l, g, names)
	return l
}

// anyone is every member.
func anyone(*member) bool { return true }

// isUnread: accused for what nobody reads, not for the growth of its origin.
func isUnread(m *member) bool { return !m.cond.grown }

// delivery is the evidence that the peer may be gone.
func delivery(l *lines, g *group) {
	n := len(g.members)
	if k := count(g, func(m *member) bool { return m.Facts.Retransmits >= retransmitted }); k > 0 {
		l.add("%s data that was retransmitted and is not acknowledged", share(k, n, "has", "have"))
	}
	if k := count(g, func(m *member) bool { return m.Facts.Retransmits < retransmitted }); k > 0 {
		l.add("%s unanswered keepalive or zero-window probes", share(k, n, "has", "have"))
	}
	keeps := func(m *member) bool { return m.Facts.Known&event.KnownKeepAlive != 0 && !m.Facts.KeepAlive }
	if k := count(g, keeps); k > 0 {
		l.add("keepalive is off on %s: without data to send, nothing would ever tell that the peer is gone", some(k, n))
	}
}

// byAddress counts the sockets of each peer's address, its ports together.
func byAddress(g *group) map[netip.Addr]int {
	counts := map[netip.Addr]int{}
	for i := range g.members {
		counts[peer(&g.members[i].Socket).Addr()]++
	}
	return counts
}

// rose is the evidence of growth.
func (j *Judge) rose(l *lines, g *group) {
	n := len(g.members)
	if s := g.rose; s != nil {
		least, _ := s.quarters()
		l.add("rose from %s to %s in %s: in each quarter of that time the least number open was above that of the quarter before",
			words.Thousands(least[0]), words.Thousands(s.counts[len(s.counts)-1]), words.Duration(s.span()))
	}
	switch {
	case g.key.stack == 0 && g.rivals > 1:
		l.add("they have no stack, and %d origins create such sockets, so none is named", g.rivals)
	case g.key.stack == 0:
		l.add("they have no stack, and are counted together because family, type and peer (or port) are the same")
	default:
		l.add("%s opened here since tracing began, %s still open", words.Thousands(j.openedAt(g.key.originKey)),
			words.Thousands(g.open))
	}
	moves := func(m *member) bool { return m.Facts.Known&event.KnownActivity != 0 }
	if k := count(g, func(m *member) bool { return moves(m) && j.silent(&m.Socket) }); k > 0 {
		l.add("%s moved no data for %s or more", share(k, n, "has", "have"), words.Duration(time.Duration(j.minAge)))
	}
	if k := n - count(g, moves); k > 0 {
		l.add("whether %s in use the kernel doesn't tell: only that they become more speaks against them", share(k, n, "is", "are"))
	}
}

// circumstances is the evidence that any class can have.
func (j *Judge) circumstances(l *lines, g *group, names Names) {
	n := len(g.members)
	if c := g.members[0].cond.class; c != ConnectPending && c != Growing && c != NeverUsed && c != Abandoned {
		l.add("in that condition for %s", j.lasted(g, anyone))
	}
	if alone := count(g, func(m *member) bool { return knowsWaiters(m) && !m.Facts.Waiters }); alone > 0 {
		on := some(alone, count(g, knowsWaiters))
		if alone == n && n > 1 {
			on = "any of them"
		}
		l.add("nothing waits on %s: no blocked thread, no poll or epoll", on)
	}
	j.before(l, g, names)
	if received := count(g, func(m *member) bool { return m.Arrival == lifecycle.Received }); received > 0 {
		l.add("%s without a system call that was seen", share(received, n, "came", "came"))
	}
	if ended := count(g, func(m *member) bool { return m.ended != 0 }); ended > 0 {
		l.add("%s open when the process ended, which closed %s", share(ended, n, "was", "were"), either(ended, "it", "them"))
	}
	if shown := count(g, func(m *member) bool { return m.ended == 0 && m.Seen != 0 }); shown > 0 {
		l.add("the kernel's own tables showed %s open at the last look", some(shown, n))
	}
}

// nameless reports whether a member's stack names no line, in a group that names one.
func (j *Judge) nameless(m *member, g *group) bool {
	if m.Stack == 0 || g.key.label != (label{}) {
		return false
	}
	_, bare := j.origins.of(g.key.process, j.bestStack(g.key.process, m.Stack))
	return bare
}

// before says what is known of the sockets without a stack.
func (j *Judge) before(l *lines, g *group, names Names) {
	n := len(g.members)
	if lesser := j.lesser(g, names); lesser > 0 {
		l.add("%s %s made before complete stacks were there; the origin is that of later ones with the same partial stack",
			some(lesser, n), either(lesser, "was", "were"))
	}
	j.lacking(l, g, names)
	j.sparedAsk(l, g)
	if j.asks(g.key.process, g.members) {
		unasked := count(g, func(m *member) bool { return m.AskVia == lifecycle.NotAsked && m.Stack != 0 })
		if unasked > 0 {
			l.add("%s: where the program asked for %s was not seen; the line is that of others made on the same stack, or of the same class and peer",
				some(unasked, n), either(unasked, "it", "them"))
		}
	} else if vague := count(g, func(m *member) bool { return j.nameless(m, g) }); vague > 0 {
		l.add("%s a stack that lacks frames and names no line; the line is that of others of the same class and peer",
			share(vague, n, "has", "have"))
	}
	before := count(g, func(m *member) bool { return m.Arrival == lifecycle.Preexisting })
	if bare := count(g, func(m *member) bool { return m.Stack == 0 }); g.inferred && bare > 0 {
		opened := either(bare, "was", "were") + " opened before tracing began and "
		if before < bare {
			opened = ""
		}
		of := "of the same class and peer"
		switch {
		case bare < n:
		case j.labelOf(&g.members[0].Socket, g.key.process).accepted:
			of = "accepted on the same port"
		default:
			of = "to the same peer"
		}
		l.add("%s %s%s no stack; the origin is that of later ones %s", some(bare, n), opened, either(bare, "has", "have"), of)
		return
	}
	if before == 0 {
		return
	}
	then := "; the origin will be named when one more is leaked while tracing"
	switch {
	case j.Stackless: // no more would name it
		then = ""
	case g.rose != nil: // they were, and without a stack
		then = ""
	case g.rivals > 1:
		then = fmt.Sprintf("; %d origins create such sockets, so none is named", g.rivals)
	}
	l.add("%s opened before tracing began%s", share(before, n, "was", "were"), then)
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

func these(n int) string { return either(n, "it", "these") }

func either(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// some writes which of n are meant: "it", "both", "all 20", "3 of 20".
func some(k, n int) string {
	switch {
	case n == 1:
		return "it"
	case k == n && n == 2:
		return "both"
	case k == n:
		return "all " + words.Thousands(n)
	}
	return words.Thousands(k) + " of " + words.Thousands(n)
}

// share is some with a verb for one and for many.
func share(k, n int, one, many string) string {
	return some(k, n) + " " + either(k, one, many)
}

// lasted says for how long those members that are meant have been in their
// condition; there must be one.
func (j *Judge) lasted(g *group, meant func(*member) bool) string {
	var times []time.Duration
	for _, m := range g.members {
		if !meant(&m) {
			continue
		}
		now := j.looked
		if m.ended != 0 {
			now = m.ended
		}
		times = append(times, time.Duration(now-min(now, m.cond.since)))
	}
	least, most := words.Duration(slices.Min(times)), words.Duration(slices.Max(times))
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
		parts = append(parts, words.Thousands(p.Count)+" × "+p.Address)
	}
	return strings.Join(parts, ", ")
}

func reason(m *member) string {
	errno := unix.Errno(m.Errno)
	failed := m.cond.class == ConnectFailed
	if errno == 0 && failed {
		errno = unix.Errno(m.ConnectErrno)
	}
	switch {
	case errno != 0 && errno != unix.EINPROGRESS:
		return fmt.Sprintf("%s: %s", unix.ErrnoName(errno), errno.Error())
	case failed:
		return "the error was read by the program, or is not known"
	}
	return "both sides finished, or the error was read"
}

// recvQ tells from the receive queue how far the program looked. That of MPTCP,
// whose history isn't known, doesn't count the FIN.
func recvQ(g *group) lines {
	const facts = event.KnownQueues | event.KnownHistory
	known := func(m *member) bool { return m.Facts.Known&facts == facts && m.ended == 0 }
	n := count(g, known)
	if n == 0 {
		return lines{"the peer sent its FIN and the descriptor is still open"}
	}
	var l lines
	for _, c := range []struct {
		is   func(q uint32) bool
		text string
	}{
		{func(q uint32) bool { return q == 0 }, "Recv-Q is 0: the end of file was read, and still no close"},
		{func(q uint32) bool { return q == 1 }, "Recv-Q is 1: only the FIN is unread, the program never looked again"},
		{func(q uint32) bool { return q > 1 }, "Recv-Q is above 1: data and the FIN are unread"},
	} {
		if k := count(g, func(m *member) bool { return known(m) && c.is(m.Facts.RecvQ) }); k > 0 {
			l.add("%s%s", either(n, "", some(k, n)+": "), c.text)
		}
	}
	return l
}
