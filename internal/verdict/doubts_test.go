package verdict

import (
	"strings"
	"testing"

	"sockleak/internal/event"
)

// What is neither a finding nor nothing keeps the verdict open, for as long as it
// takes to tell, and no longer.
func TestDoubts(t *testing.T) {
	unread := func(w *world, stack uint64) {
		s := w.connect(w.socket(stack), server)
		s.facts.Waiters, s.facts.RecvQ, s.facts.BytesIn = true, 4000, 5000
	}
	pending := func(w *world) {
		w.dial(w.socket(7), server)
		w.socks[len(w.socks)-1].facts.Waiters = true
	}
	for name, test := range map[string]struct {
		do      func(w *world)
		verdict Verdict
		reason  string
	}{
		"opened and never closed, for ten seconds": {func(w *world) {
			w.watch(10*second, func(int) { w.connect(w.socket(7), server); w.connect(w.socket(7), server) })
		}, Inconclusive, "the 10 sockets of an origin only became more so far: whether they go on to takes 20 s to tell"},
		"datagram sockets, for ten seconds": {func(w *world) {
			w.watch(10*second, func(int) { w.create(event.Socket, app, 7, udp()) })
		}, Inconclusive, "the 5 sockets of an origin only became more so far"},
		"accepted for ten seconds, and nobody waits": {func(w *world) {
			w.watch(10*second, func(int) { w.accept(7, server) })
		}, Inconclusive, "the 5 sockets of an origin only became more so far"},
		"accepted for ten seconds, and waited for": {func(w *world) {
			w.watch(10*second, func(int) { w.accept(7, server).facts.Waiters = true })
		}, NoLeak, "takes 20 s to tell"},
		"a pool that is filled, and then is": {func(w *world) {
			w.watch(4*second, func(int) { w.connect(w.socket(7), server); w.connect(w.socket(7), server) })
			w.watch(10 * second)
		}, NoLeak, "takes 20 s to tell"},
		"closed again, for ten seconds": {func(w *world) {
			w.watch(10*second, func(int) { s := w.connect(w.socket(7), server); w.look(); w.close(s) })
		}, NoLeak, "takes 20 s to tell"},
		"begun late": {func(w *world) {
			w.watch(60 * second)
			w.watch(10*second, func(int) { w.connect(w.socket(7), server) })
		}, NoLeak, "no origin's sockets only become more"},
		"idle connections that only become more": {func(w *world) {
			w.watch(90*second, func(int) { w.connect(w.socket(7), server) })
		}, Inconclusive, "the 45 connections of an origin only become more"},
		"sockets whose creation was not seen": {func(w *world) {
			w.look()
			w.deaf = true
			w.watch(40*second, func(int) { w.create(event.Socket, app, 7, udp()) })
		}, Inconclusive, "20 sockets only become more, and whether one origin leaks them can't be told"},
		"sockets whose creation was not seen, as many as there were": {func(w *world) {
			w.look()
			w.deaf = true
			for range 20 {
				w.create(event.Socket, app, 7, udp())
			}
			w.watch(40 * second)
		}, NoLeak, "no origin's sockets only become more"},
		"the same, and the idle time is over": {func(w *world) {
			w.watch(150*second, func(int) { w.connect(w.socket(7), server) })
		}, Leak, "sockets left open"},
		"more work for a server": {func(w *world) {
			w.watch(150*second, func(i int) {
				w.connect(w.socket(7), server)
				for n, s := range w.socks {
					if n%20 == i%20 { // each every 40 s
						w.receive(s, 10)
					}
				}
			})
		}, NoLeak, "what only becomes more is in use"},
		"unread for some time": {func(w *world) {
			w.watch(20*second, func(int) { unread(w, 7) })
			w.watch(60 * second)
		}, Inconclusive, "10 sockets are in a condition that leaks have, and something may be waiting for them yet: it takes 1 min 40 s to tell"},
		"connects that nothing answers": {func(w *world) {
			w.watch(60*second, func(int) { pending(w) })
		}, Inconclusive, "it takes 2 min 10 s to tell"},
		"connects that are given up in time": {func(w *world) {
			w.watch(200*second, func(i int) {
				pending(w)
				if i >= 10 {
					w.close(w.socks[0])
				}
			})
		}, NoLeak, "none of them for long enough"},
		"a connect that nothing answers": {func(w *world) {
			w.dial(w.socket(7), server)
			w.socks[0].facts.Waiters = true
			w.watch(60 * second)
		}, NoLeak, "none of them for long enough"},
		"silent, and one of each peer in use": {func(w *world) {
			for h := range 2 {
				for i := range 3 {
					s := w.beforeAt(event.StateEstablished, from(h+1, i+1))
					s.sock.Local = from(0, 80)
					s.rx, s.tx = s.rx-uint64(second), s.tx-uint64(second)
				}
			}
			l := w.before(tcp())
			w.listen(l)
			l.sock.Local = from(0, 80)
			w.watch(40*second, func(int) { w.receive(w.socks[2], 10); w.receive(w.socks[5], 10) })
		}, Inconclusive, "4 connections accepted on port 80 are silent, while each of 2 peers uses one"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			began := w.now
			test.do(w)
			r := Report{
				Duration: float64(w.now-began) / 1e9, MinAge: DefaultMinAge.Seconds(), Idle: DefaultIdle.Seconds(),
				Totals: Totals{Opened: 1, Live: 1}, Findings: w.findings(),
			}
			Conclude(&r, w.judge.Doubts(), false)
			if r.Verdict != test.verdict || !strings.Contains(strings.Join(r.Reasons, "\n"), test.reason) {
				t.Errorf("got %s %q, want %s %q", r.Verdict, r.Reasons, test.verdict, test.reason)
			}
		})
	}
}
