package verdict

import (
	"net/netip"
	"testing"
	"time"

	"sockleak/internal/event"
)

func TestInherited(t *testing.T) {
	const worker = 2
	start := func(w *world) {
		w.fork(app, worker)
		w.sleep(time.Millisecond)
		w.exec(worker)
	}
	given := func(use func(w *world, s *sock)) func(*world) {
		return func(w *world) {
			s := w.connect(w.socket(7), server)
			start(w)
			w.closeIn(app, s)
			use(w, s)
		}
	}
	idle := func(w *world, _ *sock) { w.watch(20 * second) }
	runScenarios(t, map[string]scenario{
		"a connection": {given(idle), []string{"1 inherited, medium, at_7"}},
		"used by its creator until it closed": {func(w *world) {
			s := w.connect(w.socket(7), server)
			start(w)
			w.watch(20*second, func(int) { w.send(s) })
			w.closeIn(app, s)
			w.watch(20 * second)
		}, []string{"1 inherited, medium, at_7"}},
		"closed by its creator a moment ago": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			start(w)
			w.watch(20 * second)
			w.closeIn(app, s)
			w.watch(4 * second)
		}},
		"its creator ended": {func(w *world) {
			w.connect(w.socket(7), server)
			start(w)
			w.exit(app)
			w.watch(20 * second)
		}, []string{"1 inherited, medium, at_7"}},
		"a listener that nobody waits on": {func(w *world) {
			s := w.socket(7)
			w.listen(s)
			start(w)
			w.closeIn(app, s)
			w.watch(20 * second)
		}, []string{"1 inherited, medium, at_7"}},
		"unix, whose use can't be known": {func(w *world) {
			s := w.create(event.Socket, app, 7, unixStream())
			s.sock.State, s.facts.Begun, s.facts.WasEstablished = event.StateEstablished, true, true
			w.connected(s, netip.AddrPort{}, 0)
			start(w)
			w.closeIn(app, s)
			w.watch(20 * second)
		}, []string{"1 inherited, low, at_7"}},

		"its creator holds it too": {do: func(w *world) { w.connect(w.socket(7), server); start(w); w.watch(20 * second) }},
		"waited on":                {do: given(func(w *world, s *sock) { s.facts.Waiters = true; w.watch(20 * second) })},
		"used":                     {do: given(func(w *world, s *sock) { w.watch(60*second, func(int) { w.send(s) }) })},
		"a forked worker":          {do: func(w *world) { s := w.accept(7, other); w.fork(app, worker); w.closeIn(app, s); w.watch(20 * second) }},
		"inetd": {do: func(w *world) {
			w.inode = 99 // its descriptor is 2
			s := w.accept(7, other)
			start(w)
			w.closeIn(app, s)
			w.watch(20 * second)
		}},
		"a listener that a service manager passed and keeps": {do: func(w *world) {
			w.listen(w.socket(7))
			start(w)
			w.watch(20 * second)
		}},
		"a listener that was passed and is used": {do: func(w *world) {
			s := w.socket(7)
			w.listen(s)
			start(w)
			w.closeIn(app, s)
			s.facts.Waiters = true
			w.watch(20 * second)
		}},
		"a channel to a worker": {do: func(w *world) {
			k := unixStream()
			k.State = event.StateEstablished
			s := w.create(event.Pair, app, 7, k)
			s.facts.Begun, s.facts.WasEstablished = true, true
			start(w)
			w.closeIn(app, s)
			w.watch(20 * second)
		}},
		"a datagram socket": {do: func(w *world) {
			s := w.create(event.Socket, app, 7, udp())
			start(w)
			w.closeIn(app, s)
			w.watch(20 * second)
		}},
		"closed in the worker": {do: given(func(w *world, s *sock) { w.watch(4 * second); w.closeIn(worker, s); w.watch(20 * second) })},
	})
}
