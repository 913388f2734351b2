package verdict

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sockleak/internal/event"
)

func udp() event.Sock {
	return event.Sock{Family: afInet, Type: 2, Protocol: protoUDP, State: event.StateClose}
}

func TestGrowing(t *testing.T) {
	open := func(w *world, n int) (made []*sock) {
		for range n {
			made = append(made, w.connect(w.socket(7), server))
		}
		return made
	}
	runScenarios(t, map[string]scenario{
		"steadily": {func(w *world) { w.watch(40*second, func(int) { open(w, 1) }) }, []string{"20 growing, medium, at_7"}},
		"udp, one for each request": {func(w *world) { w.watch(40*second, func(int) { w.create(event.Socket, app, 7, udp()) }) },
			[]string{"20 growing, medium, at_7"}},
		"unix, connected": {func(w *world) {
			w.watch(40*second, func(int) {
				s := w.create(event.Socket, app, 7, unixStream())
				s.sock.State, s.facts.Begun, s.facts.WasEstablished = event.StateEstablished, true, true
				w.connected(s, netip.AddrPort{}, 0)
			})
		}, []string{"20 growing, medium, at_7"}},
		"half of them closed": {func(w *world) { w.watch(40*second, func(int) { open(w, 1); w.close(open(w, 1)[0]) }) },
			[]string{"20 growing, medium, at_7"}},
		"waited on, as in epoll": {func(w *world) { w.watch(40*second, func(int) { open(w, 1)[0].facts.Waiters = true }) },
			[]string{"20 growing, medium, at_7"}},
		"slowly": {func(w *world) {
			w.watch(200*second, func(i int) {
				if i%20 == 0 {
					open(w, 1)
				}
			})
		}, []string{"5 growing, medium, at_7"}},
		"more than a series holds": {func(w *world) { w.watch(1000*second, func(int) { open(w, 1) }) }, []string{"500 growing, medium, at_7"}},

		"not for long enough": {do: func(w *world) { w.watch(18*second, func(int) { open(w, 1) }) }},
		"a pool, idle":        {do: func(w *world) { open(w, 20); w.watch(90 * second) }},
		"a pool, busy": {do: func(w *world) {
			pool := open(w, 20)
			w.watch(90*second, func(i int) { w.send(pool[i%20]) })
		}},
		"a pool that warms up, then stays": {do: func(w *world) { w.watch(20*second, func(int) { open(w, 2) }); w.watch(60 * second) }},
		"a burst, then steady":             {do: func(w *world) { w.watch(4 * second); open(w, 100); w.watch(60 * second) }},
		"idle for minutes, as a long poll or WebSocket": {do: func(w *world) {
			for _, s := range open(w, 5) {
				s.facts.Waiters = true
			}
			w.watch(240 * second)
		}},
		"a load that rises late in a long watch": {do: func(w *world) {
			w.watch(2400*second, func(i int) {
				if i == 0 || i > 1150 {
					open(w, 1)
				}
			})
		}},
		"in use, ever more": {do: func(w *world) {
			var all []*sock
			w.watch(60*second, func(int) {
				all = append(all, open(w, 1)...)
				for _, s := range all {
					w.send(s)
				}
			})
		}},
		"a keep-alive server under load": {do: func(w *world) {
			var open []*sock
			w.watch(120*second, func(i int) {
				for range 5 {
					open = append(open, w.accept(7, other))
				}
				for len(open) > 15 {
					w.close(open[0])
					open = open[1:]
				}
			})
		}},
		"collected as garbage": {do: func(w *world) {
			var garbage []*sock
			w.watch(120*second, func(i int) {
				garbage = append(garbage, open(w, 3)...)
				if i%8 == 7 {
					for _, s := range garbage {
						w.close(s)
					}
					garbage = nil
				}
			})
		}},
		"most are closed": {do: func(w *world) {
			w.watch(60*second, func(int) {
				for _, s := range open(w, 5)[1:] {
					w.close(s)
				}
			})
		}},
		"closes that were lost": {do: func(w *world) {
			w.watch(60*second, func(int) {
				s := open(w, 1)[0]
				w.look()
				w.deaf = true
				w.close(s)
				w.deaf = false
			})
		}},
		"creations that were lost": {do: func(w *world) {
			w.look()
			w.deaf = true
			w.watch(60*second, func(int) { open(w, 1) })
		}},
		"with those from before to the same peer": {func(w *world) {
			for range 3 {
				w.beforeAt(event.StateEstablished, server)
				w.beforeAt(event.StateEstablished, other)
			}
			w.watch(40*second, func(int) { open(w, 1) })
		}, []string{"23 growing, medium, inferred at_7"}},
	})
}

func TestInferredOrigin(t *testing.T) {
	closed := func(w *world, stack uint64, peer netip.AddrPort) *sock {
		s := w.connect(w.socket(stack), peer)
		w.fin(s, 1)
		return s
	}
	thousand := func(w *world, state uint8, peer netip.AddrPort) {
		for range 1000 {
			w.beforeAt(state, peer)
		}
		w.look()
	}
	runScenarios(t, map[string]scenario{
		"none yet": {func(w *world) { thousand(w, event.StateCloseWait, server); w.watch(8 * second) },
			[]string{"1000 peer-closed, high, no origin"}},
		"one more": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			closed(w, 7, server)
			w.watch(8 * second)
		}, []string{"1001 peer-closed, high, inferred at_7"}},
		"one more, young": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			w.watch(8 * second)
			closed(w, 7, server)
			w.watch(4 * second)
		}, []string{"1001 peer-closed, high, inferred at_7"}},
		"one more, passing through": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			w.watch(8 * second)
			closed(w, 7, server)
			w.look()
			w.look()
		}, []string{"1000 peer-closed, high, no origin"}},
		"one more, seen once": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			w.watch(8 * second)
			closed(w, 7, server)
			w.watch(2 * second)
		}, []string{"1000 peer-closed, high, no origin"}},
		"one more to another peer": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			closed(w, 7, other)
			w.watch(8 * second)
		}, []string{"1000 peer-closed, high, no origin", "1 peer-closed, medium, at_7"}},
		"one more of another class": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			w.reset(w.connect(w.socket(7), server))
			w.watch(8 * second)
		}, []string{"1000 peer-closed, high, no origin", "1 dead, medium, at_7"}},
		"one more of another process": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			s := w.create(event.Socket, 2, 7, tcp())
			w.fin(w.connect(s, server), 1)
			w.watch(8 * second)
		}, []string{"1000 peer-closed, high, no origin", "1 peer-closed, medium, at_7"}},
		"two origins to the same peer": {func(w *world) {
			thousand(w, event.StateCloseWait, server)
			closed(w, 7, server)
			closed(w, 8, server)
			w.watch(8 * second)
		}, []string{"1000 peer-closed, high, no origin", "1 peer-closed, medium, at_7", "1 peer-closed, medium, at_8"}},
		"failed connects, whose peer is forgotten": {func(w *world) {
			for range 1000 {
				w.beforeAt(event.StateClose, server).facts.WasEstablished = false
			}
			w.look()
			w.refuse(w.socket(7), server)
			w.watch(8 * second)
		}, []string{"1001 connect-failed, high, inferred at_7"}},
		"never used": {func(w *world) {
			for range 1000 {
				w.before(tcp())
			}
			w.look()
			w.socket(7)
			w.watch(8 * second)
		}, []string{"1001 never-used, high, inferred at_7"}},
		"never used, and another that is about to be": {func(w *world) {
			for range 1000 {
				w.before(tcp())
			}
			w.watch(8*second, func(int) { w.connect(w.socket(8), server) })
			w.socket(7)
			w.look()
		}, []string{"1000 never-used, high, no origin"}},
		"ipv4-mapped, in a dual-stack program": {func(w *world) {
			k := inet6(tcp())
			for range 10 {
				s := w.beforeAt(event.StateCloseWait, server)
				s.sock.Family = afInet6
			}
			w.look()
			w.fin(w.connect(w.create(event.Socket, app, 7, k), server), 1)
			w.watch(8 * second)
		}, []string{"11 peer-closed, high, inferred at_7"}},
		"accepted, from many clients": {func(w *world) {
			listener := w.before(tcp())
			w.bind(listener)
			listener.sock.State = event.StateListen
			for i := range 10 {
				s := w.beforeAt(event.StateCloseWait, netip.AddrPortFrom(other.Addr(), uint16(5000+i)))
				s.sock.Local = netip.AddrPortFrom(local.Addr(), 80)
			}
			w.look()
			w.fin(w.accept(7, netip.AddrPortFrom(other.Addr(), 6000)), 1)
			w.watch(8 * second)
		}, []string{"11 peer-closed, high, inferred at_7"}},
		"a stack that was lost": {func(w *world) {
			closed(w, 0, server)
			closed(w, 7, server)
			w.watch(8 * second)
		}, []string{"2 peer-closed, medium, inferred at_7"}},
	})
}

func TestYoungerOfTheSameOriginCount(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.socket(7)
	w.watch(8 * second)
	w.socket(7)
	w.socket(8)
	w.sleep(second)
	w.socket(7) // too young even for that
	w.look()
	if got, want := w.brief(), []string{"2 never-used, high, at_7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if w.suspects != 4 {
		t.Errorf("%d suspects, want 4", w.suspects)
	}
}

func TestVanishedSuspects(t *testing.T) {
	w := newWorld(t)
	a, b := w.socket(7), w.socket(7)
	w.watch(8 * second)
	w.close(a)
	w.watch(2 * second)
	if got, want := w.brief(), []string{"1 never-used, medium, at_7"}; !slices.Equal(got, want) || w.suspects != 1 {
		t.Errorf("got %q and %d suspects, want %q and 1", got, w.suspects, want)
	}
	w.close(b)
	w.watch(2 * second)
	if got := w.brief(); got != nil || w.suspects != 0 {
		t.Errorf("got %q and %d suspects, want nothing", got, w.suspects)
	}
}

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
		"one left over":                      ended(func(w *world) { w.socket(7) }),
		"one left over for long":             ended(func(w *world) { w.socket(7); w.sleep(6 * second) }, "1 never-used, low, at_7"),
		"several":                            ended(each(5, func(w *world) { w.socket(7) }), "5 never-used, low, at_7"),
		"several, known not to be bound":     ended(func(w *world) { each(5, func(w *world) { w.socket(7) })(w); w.look() }, "5 never-used, high, at_7"),
		"several, bound":                     ended(func(w *world) { each(5, func(w *world) { w.bind(w.socket(7)) })(w); w.look() }),
		"one from each of several":           ended(func(w *world) { w.socket(7); w.socket(8); w.socket(9) }),
		"refused again and again":            ended(each(5, refused), "4 connect-failed, high, at_7"),
		"refused, and refused, and given up": ended(each(2, refused)),
		"open connections, in use":           ended(func(w *world) { connections(w) }),
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
			w.closeIn(app, a)
			w.closeIn(app, b)
			w.sleep(6 * second)
			w.exit(2)
			w.watch(2 * second)
		}},
	})
}
