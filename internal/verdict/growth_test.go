package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

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
		"steadily":                      {func(w *world) { w.watch(120*second, func(int) { open(w, 1) }) }, []string{"60 abandoned, medium, at_7"}},
		"not for as long as a pool may": {do: func(w *world) { w.watch(98*second, func(int) { open(w, 1) }) }},
		"accepted, and nobody waits": {func(w *world) { w.watch(120*second, func(int) { w.accept(7, server) }) },
			[]string{"60 abandoned, medium, at_7"}},
		"clients that come and stay, and are waited for": {do: func(w *world) {
			w.watch(240*second, func(int) { w.accept(7, server).facts.Waiters = true })
		}},
		"complete stacks come late": {func(w *world) {
			w.watch(60*second, func(int) { w.connect(w.socket(507), server) })
			w.watch(50*second, func(i int) {
				w.connect(w.socket(507), server)
				if i == 20 {
					w.judge.Better(process(app), 0, 507, 8)
				}
			})
		}, []string{"55 abandoned, medium, inferred at_8"}},
		"udp, one for each request": {func(w *world) { w.watch(40*second, func(int) { w.create(event.Socket, app, 7, udp()) }) },
			[]string{"20 growing, medium, at_7"}},
		"udp, on a path of five": {func(w *world) {
			w.watch(40*second, func(int) {
				for i := range 5 {
					if s := w.create(event.Socket, app, 7, udp()); i > 0 {
						w.close(s)
					}
				}
			})
		}, []string{"20 growing, medium, at_7"}},
		"unix, connected": {func(w *world) {
			w.watch(40*second, func(int) {
				s := w.create(event.Socket, app, 7, unixStream())
				s.sock.State, s.facts.Begun, s.facts.WasEstablished = event.StateEstablished, true, true
				w.connected(s, netip.AddrPort{}, 0)
			})
		}, []string{"20 growing, medium, at_7"}},
		"half of them closed": {func(w *world) { w.watch(120*second, func(int) { open(w, 1); w.close(open(w, 1)[0]) }) },
			[]string{"60 abandoned, medium, at_7"}},
		"waited on, as in epoll": {func(w *world) { w.watch(120*second, func(int) { open(w, 1)[0].facts.Waiters = true }) },
			[]string{"60 abandoned, medium, at_7"}},
		"compiled again and again": {func(w *world) {
			w.watch(120*second, func(i int) { w.connect(w.socket(7+100*uint64(i/10)), server) })
		}, []string{"60 abandoned, medium, at_7"}},
		"compiled again and again, without a frame of the program": {func(w *world) {
			w.watch(120*second, func(i int) { w.connect(w.socket(1000+uint64(i/10)), server) })
		}, []string{"60 abandoned, medium, no origin"}},
		"slowly": {func(w *world) {
			w.watch(200*second, func(i int) {
				if i%20 == 0 {
					open(w, 1)
				}
			})
		}, []string{"5 abandoned, medium, at_7"}},
		"more than a series holds": {func(w *world) { w.watch(1000*second, func(int) { open(w, 1) }) }, []string{"500 abandoned, medium, at_7"}},

		"without a stack": {func(w *world) { w.watch(40*second, func(int) { w.create(event.Socket, app, 0, udp()) }) },
			[]string{"20 growing, medium, no origin"}},
		"without a stack, of two kinds": {func(w *world) {
			w.watch(120*second, func(int) { w.create(event.Socket, app, 0, udp()); w.connect(w.socket(0), server) })
		}, []string{"60 abandoned, medium, no origin", "60 growing, medium, no origin"}},
		"without a stack, with those from before for the same": {func(w *world) {
			for range 3 {
				w.beforeAt(event.StateEstablished, server)
				w.beforeAt(event.StateEstablished, other)
			}
			w.watch(120*second, func(int) { w.connect(w.socket(0), server) })
		}, []string{"63 abandoned, medium, no origin"}},
		"some without a stack": {func(w *world) {
			w.watch(120*second, func(i int) { w.connect(w.socket(7*uint64(i%2)), server) })
		}, []string{"60 abandoned, medium, inferred at_7"}},
		"some without a stack, of one of two": {func(w *world) {
			w.watch(120*second, func(i int) { w.connect(w.socket([]uint64{7, 8, 0}[i%3]), server) })
		}, []string{"20 abandoned, medium, at_7", "20 abandoned, medium, at_8", "20 abandoned, medium, no origin"}},
		"without a stack, in use beside idle ones from before": {do: func(w *world) {
			for range 100 {
				w.beforeAt(event.StateEstablished, server)
			}
			w.look()
			var all []*sock
			w.watch(120*second, func(int) {
				all = append(all, w.connect(w.socket(0), server))
				for _, s := range all {
					w.send(s)
				}
			})
		}},
		"without a stack, as many as there were": {do: func(w *world) {
			for range 20 {
				w.create(event.Socket, app, 0, udp())
			}
			w.watch(60 * second)
		}},

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
			for _, s := range w.socks { // the kernel shows them in another order
				s.fds[0].fd = 100 - s.fds[0].fd
			}
			w.watch(40*second, func(int) { open(w, 1) })
		}, []string{"23 abandoned, medium, inferred at_7"}},
		"two classes, and those from before to the peer of one": {func(w *world) {
			for range 3 {
				w.beforeAt(event.StateEstablished, server)
			}
			w.look()
			w.watch(120*second, func(int) { open(w, 1); w.create(event.Socket, app, 8, udp()) })
		}, []string{"63 abandoned, medium, inferred at_7", "60 growing, medium, at_8"}},
		"with those from before, which are in use": {func(w *world) {
			pool := w.beforeAt(event.StateEstablished, server)
			w.watch(120*second, func(int) { open(w, 1); w.send(pool) })
		}, []string{"60 abandoned, medium, at_7"}},
	})
}

// An origin that makes connections to several peers is found at each look, whichever
// of them the kernel shows last.
func TestGrowingToSeveralPeers(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.beforeAt(event.StateEstablished, server)
	}
	w.look()
	var got []string
	w.watch(60*second, func(i int) {
		w.connect(w.socket(7), []netip.AddrPort{server, other}[i%2])
		if i > 20 {
			got = append(got, w.brief()...)
		}
	})
	want := []string{}
	for n := range 9 {
		want = append(want, fmt.Sprintf("%d abandoned, medium, inferred at_7", 25+n))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// What is said of growth is said of what grew, and what is open of all that its
// origin made.
func TestGrowthEvidence(t *testing.T) {
	idle := func(w *world) *sock { return w.connect(w.socket(7), server) }
	unread := func(w *world) *sock {
		s := idle(w)
		w.receive(s, 5000)
		s.facts.RecvQ = 4000
		return s
	}
	for name, c := range map[string]struct {
		do   func(w *world)
		want []string
	}{
		"another class of the same origin": {func(w *world) {
			w.watch(120*second, func(int) { idle(w); w.fin(idle(w), 1) })
		}, []string{"rose from 1 to 60 in 1 min 58 s", "120 opened here since tracing began, 120 still open"}},
		"others that are closed as fast": {func(w *world) {
			var all []*sock
			for range 70 {
				all = append(all, unread(w))
			}
			w.watch(120*second, func(i int) { idle(w); w.close(all[i]) })
		}, []string{"rose from 3 to 60 in 1 min 58 s", "130 opened here since tracing began, 70 still open"}},
		"with those from before": {func(w *world) {
			for range 30 {
				w.beforeAt(event.StateEstablished, server)
			}
			w.look()
			w.watch(40*second, func(int) { idle(w) })
		}, []string{"rose from 1 to 20 in 38 s", "20 opened here since tracing began, 20 still open",
			"30 of 50 were opened before tracing began and have no stack; the origin is that of later ones of the same class and peer"}},
		"without a stack, some from before": {func(w *world) {
			for range 3 {
				w.beforeAt(event.StateEstablished, server)
			}
			w.watch(120*second, func(int) { w.connect(w.socket(0), server) })
		}, []string{"rose from 1 to 60 in 1 min 58 s", "they have no stack, and are counted together because family, type and peer (or port) are the same",
			"3 of 63 were opened before tracing began"}},
		"without a stack, of one of two": {func(w *world) {
			w.watch(120*second, func(i int) { w.connect(w.socket([]uint64{7, 8, 0}[i%3]), server) })
		}, []string{"rose from 1 to 20 in 1 min 58 s", "20 opened here since tracing began, 20 still open",
			"rose from 1 to 20 in 1 min 56 s", "20 opened here since tracing began, 20 still open",
			"rose from 1 to 20 in 1 min 54 s", "they have no stack, and 2 origins create such sockets, so none is named"}},
		"until the end, where complete stacks came after it": {func(w *world) {
			w.watch(40*second, func(int) { w.create(event.Socket, app, 507, udp()) })
			w.exit(app)
			w.judge.Better(process(app), 0, 507, 8)
			w.watch(4 * second)
		}, []string{"rose from 1 to 20 in 38 s", "20 opened here since tracing began, 20 still open"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.do(w)
			var got []string
			for _, f := range w.findings() {
				for _, e := range f.Evidence {
					e, _, _ = strings.Cut(e, ": in each quarter")
					if strings.HasPrefix(e, "rose") || strings.Contains(e, "opened") || strings.Contains(e, "no stack") {
						got = append(got, e)
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

// Among sockets that only become more, one comes into a condition that has its
// origin resolved: the others are found all the same, and counted from when they
// began.
func TestGrowingWhileLearned(t *testing.T) {
	grow := func(id uint64, first func(w *world)) func(w *world) {
		return func(w *world) {
			first(w)
			w.watch(120*second, func(i int) {
				s := w.connect(w.socket(id), server)
				if i == 10 {
					w.fin(s, 1)
				}
			})
		}
	}
	nothing := func(*world) {}
	runScenarios(t, map[string]scenario{
		"no frame of the program": {grow(1007, nothing), []string{"59 abandoned, medium, no origin", "1 peer-closed, medium, no origin"}},
		"reads like one before": {grow(107, func(w *world) { w.fin(w.connect(w.socket(7), server), 1); w.watch(4 * second) }),
			[]string{"59 abandoned, medium, at_7", "2 peer-closed, medium, at_7"}},
	})
}
