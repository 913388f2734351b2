package verdict

import (
	"testing"
	"time"

	"sockleak/internal/event"
)

func TestEnded(t *testing.T) {
	// ended has its sockets made, and ends a moment later, before any look.
	ended := func(do func(w *world), want ...string) scenario {
		return scenario{func(w *world) { do(w); w.sleep(time.Millisecond); w.exit(app); w.watch(2 * second) }, want}
	}
	each := func(n int, do func(w *world)) func(w *world) {
		return func(w *world) {
			for range n {
				do(w)
			}
		}
	}
	refused := func(w *world) { w.refuse(w.socket(7), server) }
	connections := func(w *world) (all []*sock) {
		for range 10 {
			all = append(all, w.connect(w.socket(7), server))
		}
		return all
	}
	runScenarios(t, map[string]scenario{
		"grew until the end": {func(w *world) {
			w.watch(120*second, func(int) { w.connect(w.socket(7), server) })
			w.exit(app)
			w.watch(4 * second)
		}, []string{"60 abandoned, medium, at_7"}},
		"grew, but not for long enough": {do: func(w *world) {
			w.watch(90*second, func(int) { w.connect(w.socket(7), server) })
			w.exit(app)
			w.watch(4 * second)
		}},
		"grew until the end, and complete stacks came after it": {func(w *world) {
			w.watch(40*second, func(int) { w.create(event.Socket, app, 507, udp()) })
			w.exit(app)
			w.judge.Better(process(app), 0, 507, 8)
			w.watch(4 * second)
		}, []string{"20 growing, medium, inferred at_8"}},
		"one left over":                  ended(func(w *world) { w.socket(7) }),
		"one left over for long":         ended(func(w *world) { w.socket(7); w.sleep(6 * second) }, "1 never-used, low, at_7"),
		"several":                        ended(each(5, func(w *world) { w.socket(7) }), "5 never-used, low, at_7"),
		"several, known not to be bound": ended(func(w *world) { each(5, func(w *world) { w.socket(7) })(w); w.look() }, "5 never-used, high, at_7"),
		"several, bound":                 ended(func(w *world) { each(5, func(w *world) { w.bind(w.socket(7)) })(w); w.look() }),
		"several, and more from before tracing": ended(func(w *world) {
			each(5, func(w *world) { w.before(tcp()) })(w)
			w.watch(2 * second)
			each(3, func(w *world) { w.socket(7) })(w)
			w.sleep(6 * second)
		}, "8 never-used, high, inferred at_7"),
		"several, and one whose stack names no line": ended(func(w *world) {
			w.socket(951)
			each(4, func(w *world) { w.socket(7) })(w)
		}, "5 never-used, low, inferred at_7"),
		"several, and one whose stack is all there is": ended(func(w *world) {
			w.socket(901)
			each(4, func(w *world) { w.socket(7) })(w)
		}, "4 never-used, low, at_7"),
		"several of two lines, and one whose stack names none": ended(func(w *world) {
			w.socket(951)
			each(2, func(w *world) { w.socket(7); w.socket(8) })(w)
		}, "2 never-used, low, at_7", "2 never-used, low, at_8"),
		"several, and one of their line whose walk went astray": ended(func(w *world) {
			w.socket(607)
			each(4, func(w *world) { w.socket(7) })(w)
		}, "4 never-used, low, at_7", "1 never-used, low, at_7"),
		"several whose walks went astray, and one of their line": ended(func(w *world) {
			w.socket(7)
			each(4, func(w *world) { w.socket(607) })(w)
		}, "4 never-used, low, at_7", "1 never-used, low, at_7"),
		"several, and one of another line whose walk went astray": ended(func(w *world) {
			w.socket(608)
			each(4, func(w *world) { w.socket(7) })(w)
		}, "4 never-used, low, at_7"),
		"several, and one of their line from another caller": ended(func(w *world) {
			w.socket(707)
			each(4, func(w *world) { w.socket(7) })(w)
		}, "4 never-used, low, at_7"),
		"several whose stacks lack frames, and one of their line from another caller": ended(func(w *world) {
			w.socket(607)
			each(4, func(w *world) { w.socket(507) })(w)
		}, "4 never-used, low, at_7"),
		"several, one of their line whose walk went astray, and one whose stack names no line": ended(func(w *world) {
			w.socket(951)
			w.socket(607)
			each(4, func(w *world) { w.socket(7) })(w)
		}, "5 never-used, low, inferred at_7", "1 never-used, low, at_7"),
		"one of a line, and one of it whose walk went astray": ended(func(w *world) { w.socket(607); w.socket(7) }),
		"one of a line, and one whose stack names none":       ended(func(w *world) { w.socket(951); w.socket(7) }),
		"one from each of several":                            ended(func(w *world) { w.socket(7); w.socket(8); w.socket(9) }),
		"refused again and again":                             ended(each(5, refused), "4 connect-failed, high, at_7"),
		"refused, and refused, and given up":                  ended(each(2, refused)),
		"open connections, in use":                            ended(func(w *world) { connections(w) }),
		"the server closed, so it ends": ended(func(w *world) {
			for _, s := range connections(w) {
				w.fin(s, 1)
			}
		}),
		"the server died, so it ends": ended(func(w *world) {
			for _, s := range connections(w) {
				w.reset(s)
			}
		}),
		"the server closed, and it went on for a while": ended(func(w *world) {
			for _, s := range connections(w) {
				w.fin(s, 1)
			}
			w.sleep(second)
		}, "10 peer-closed, high, at_7"),
		"connects in progress": ended(func(w *world) {
			for range 10 {
				w.dial(w.socket(7), server)
			}
			w.sleep(20 * second)
		}),
		"connects in progress that nobody waited for": ended(func(w *world) {
			for range 10 {
				w.dial(w.socket(7), server)
			}
			w.watch(20 * second)
		}, "10 connect-pending, medium, at_7"),
		"connects that were begun after the last look": ended(func(w *world) {
			a, b := w.socket(7), w.socket(7)
			w.look()
			w.dial(a, server)
			w.dial(b, server)
			w.sleep(20 * second)
		}),
		"connections that were made and lost after the last look": ended(func(w *world) {
			a, b := w.socket(7), w.socket(7)
			w.look()
			w.reset(w.connect(a, server))
			w.reset(w.connect(b, server))
			w.sleep(second)
		}, "2 dead, high, at_7"),
		"held by another process": {do: func(w *world) {
			each(5, func(w *world) { w.socket(7) })(w)
			w.fork(app, 2)
			w.exit(2)
			w.watch(2 * second)
		}},
		"some ended, some live": {func(w *world) {
			w.fork(app, 2)
			for range 3 {
				w.create(event.Socket, 2, 7, tcp())
				w.socket(7)
			}
			w.watch(8 * second)
			w.exit(2)
			w.watch(2 * second)
		}, []string{"3 never-used, high, at_7", "3 never-used, high, at_7"}},
		"inherited by a helper that ends soon": {do: func(w *world) {
			a, b := w.connect(w.socket(7), server), w.connect(w.socket(7), server)
			w.fork(app, 2)
			w.exec(2)
			w.look()
			w.closeIn(app, a)
			w.closeIn(app, b)
			w.sleep(6 * second)
			w.exit(2)
			w.watch(2 * second)
		}},
	})
}
