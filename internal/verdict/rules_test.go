package verdict

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sockleak/internal/event"
)

// scenario is something a program does, and what is to be said of it.
type scenario struct {
	do   func(w *world)
	want []string
}

func runScenarios(t *testing.T, all map[string]scenario) {
	t.Helper()
	for name, sc := range all {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sc.do(w)
			if got := w.brief(); !slices.Equal(got, sc.want) {
				t.Errorf("got %q, want %q", got, sc.want)
			}
		})
	}
}

func inet6(s event.Sock) event.Sock {
	s.Family = afInet6
	return s
}

func mptcp() event.Sock {
	s := tcp()
	s.Protocol = protoMPTCP
	return s
}

func TestNeverUsed(t *testing.T) {
	bare := func(kind event.Sock) scenario {
		return scenario{do: func(w *world) {
			w.create(event.Socket, app, 7, kind)
			w.create(event.Socket, app, 7, kind)
			w.watch(60 * second)
		}}
	}
	leaks := func(kind event.Sock) scenario {
		s := bare(kind)
		s.want = []string{"2 never-used, high, at_7"}
		return s
	}
	used := func(use func(w *world, s *sock)) scenario {
		return scenario{do: func(w *world) {
			use(w, w.socket(7))
			w.watch(60 * second)
		}}
	}
	runScenarios(t, map[string]scenario{
		"tcp":       leaks(tcp()),
		"tcp6":      leaks(inet6(tcp())),
		"unix":      leaks(unixStream()),
		"seqpacket": leaks(event.Sock{Family: afUnix, Type: sockSeqpacket, State: event.StateClose}),
		"one alone": {func(w *world) { w.socket(7); w.watch(8 * second) }, []string{"1 never-used, medium, at_7"}},
		"two origins": {func(w *world) { w.socket(7); w.socket(8); w.socket(8); w.watch(8 * second) },
			[]string{"2 never-used, high, at_8", "1 never-used, medium, at_7"}},

		"udp":           bare(event.Sock{Family: afInet, Type: 2, Protocol: protoUDP, State: event.StateClose}),
		"netlink":       bare(event.Sock{Family: 16, Type: 3, State: event.StateClose}),
		"raw":           bare(event.Sock{Family: afInet, Type: 3, Protocol: 1, State: event.StateClose}),
		"packet":        bare(event.Sock{Family: 17, Type: 3, State: event.StateClose}),
		"vsock":         bare(event.Sock{Family: 40, Type: sockStream, State: event.StateClose}),
		"unix datagram": bare(event.Sock{Family: afUnix, Type: 2, State: event.StateClose}),
		"sctp":          bare(event.Sock{Family: afInet, Type: sockStream, Protocol: 132, State: event.StateClose}),
		"mptcp, of which the kernel doesn't tell enough": bare(mptcp()),

		"listener that was shut down, and keeps its port": used(func(w *world, s *sock) {
			w.listen(s)
			w.state(s, event.StateClose, 0)
			w.bind(s)
		}),
		"listener that was shut down and has lost its port": {func(w *world) {
			s := w.socket(7)
			w.listen(s)
			w.state(s, event.StateClose, 0)
			w.watch(8 * second)
		}, []string{"1 dead, medium, at_7"}},
		"the same, from before": {func(w *world) {
			s := w.before(tcp())
			w.listen(s)
			w.look()
			w.state(s, event.StateClose, 0)
			w.watch(8 * second)
		}, []string{"1 dead, medium, no origin"}},
		"the same, when the event was lost": {func(w *world) {
			s := w.socket(7)
			w.listen(s)
			w.look()
			w.deaf = true
			w.state(s, event.StateClose, 0)
			w.watch(8 * second)
		}, []string{"1 dead, medium, at_7"}},
		"listener that was shut down, and connected": {func(w *world) {
			s := w.socket(7)
			w.listen(s)
			w.state(s, event.StateClose, 0)
			w.refuse(s, server)
			w.watch(8 * second)
		}, []string{"1 connect-failed, medium, at_7"}},

		"bound only":      used(func(w *world, s *sock) { w.bind(s) }),
		"listener":        used(func(w *world, s *sock) { w.listen(s) }),
		"idle connection": used(func(w *world, s *sock) { w.connect(s, server) }),
		"unix, bound":     {do: func(w *world) { w.bind(w.create(event.Socket, app, 7, unixStream())); w.watch(60 * second) }},
		"unix, listening": {do: func(w *world) { w.listen(w.create(event.Socket, app, 7, unixStream())); w.watch(60 * second) }},
		"closed before the grace time": used(func(w *world, s *sock) {
			w.watch(4 * second)
			w.close(s)
		}),
		"connected late": used(func(w *world, s *sock) {
			w.watch(4 * second)
			w.connect(s, server)
		}),
		"gone between two looks, unseen": used(func(w *world, s *sock) {
			w.watch(4 * second)
			w.gone(s)
		}),
		"old, and looked at once": {do: func(w *world) { w.socket(7); w.sleep(60 * second); w.look() }},
		"its inode number is used again": used(func(w *world, s *sock) {
			w.watch(4 * second)
			w.close(s)
			w.inode--
			w.socket(7)
			w.watch(4 * second)
			w.close(w.socks[0])
		}),
		"too young": {do: func(w *world) { w.socket(7); w.watch(4 * second) }},
	})
}

func TestInodeReuseBeginsAnew(t *testing.T) {
	w := newWorld(t)
	w.close(w.socket(7))
	w.inode--
	first := w.socket(7)
	w.watch(4 * second)
	w.close(first)
	w.inode--
	w.socket(7)
	w.watch(4 * second)
	if got := w.brief(); got != nil {
		t.Errorf("four seconds each: %q", got)
	}
	w.watch(2 * second)
	if got, want := w.brief(), []string{"1 never-used, medium, at_7"}; !slices.Equal(got, want) {
		t.Errorf("six seconds: %q, want %q", got, want)
	}
}

func TestConnectPending(t *testing.T) {
	dial := func(w *world, waited bool, n int) {
		for range n {
			s := w.socket(7)
			w.dial(s, server)
			s.facts.Waiters = waited
		}
	}
	pending := func(waited bool, n int, d time.Duration, want ...string) scenario {
		return scenario{func(w *world) { dial(w, waited, n); w.watch(d) }, want}
	}
	runScenarios(t, map[string]scenario{
		"nobody waits":            pending(false, 2, 8*second, "2 connect-pending, medium, at_7"),
		"nobody waits, too young": pending(false, 2, 4*second),
		"somebody waits":          pending(true, 2, 126*second),
		"somebody waits for ever": pending(true, 2, 140*second, "2 connect-pending, medium, at_7"),
		"answered at last": {do: func(w *world) {
			s := w.socket(7)
			w.dial(s, server)
			w.watch(4 * second)
			w.state(s, event.StateEstablished, 0)
			w.watch(60 * second)
		}},
		"refused then closed in a moment": {do: func(w *world) {
			s := w.socket(7)
			w.refuse(s, server)
			w.sleep(second / 2)
			w.look()
			w.close(s)
			w.watch(20 * second)
		}},
		"some are waited for": {func(w *world) {
			dial(w, true, 20)
			dial(w, false, 3)
			w.watch(20 * second)
		}, []string{"3 connect-pending, medium, at_7"}},
		"ever more": {func(w *world) {
			w.watch(20*second, func(int) { dial(w, false, 1) })
		}, []string{"10 connect-pending, high, at_7"}},
		"whether anybody waits isn't known": {do: func(w *world) {
			s := w.socket(7)
			w.dial(s, server)
			s.facts.Known &^= event.KnownWaiters
			w.watch(126 * second)
		}},
		"preexisting": {func(w *world) {
			w.beforeAt(event.StateSynSent, server).facts.WasEstablished = false
			w.watch(10 * second)
		}, []string{"1 connect-pending, medium, no origin"}},
	})
}

func TestConnectFailed(t *testing.T) {
	runScenarios(t, map[string]scenario{
		"refused": {func(w *world) {
			for range 3 {
				w.refuse(w.socket(7), server)
			}
			w.watch(8 * second)
		}, []string{"3 connect-failed, high, at_7"}},
		"timed out": {func(w *world) {
			s := w.socket(7)
			w.dial(s, server)
			s.facts.Waiters = true
			w.watch(126 * second)
			w.state(s, event.StateClose, etimedout)
			w.watch(8 * second)
		}, []string{"1 connect-failed, medium, at_7"}},
		"preexisting": {func(w *world) {
			w.beforeAt(event.StateClose, server).facts.WasEstablished = false
			w.watch(10 * second)
		}, []string{"1 connect-failed, medium, no origin"}},
		"tried again on the same socket": {do: func(w *world) {
			s := w.socket(7)
			w.watch(60*second, func(int) { w.refuse(s, server) })
		}},
		"tried again, and connected": {do: func(w *world) {
			s := w.socket(7)
			w.refuse(s, server)
			w.watch(4 * second)
			w.connect(s, server)
			w.watch(60 * second)
		}},
		"connected, disconnected, refused": {func(w *world) {
			s := w.connect(w.socket(7), server)
			w.state(s, event.StateClose, 0)
			w.refuse(s, server)
			w.watch(8 * second)
		}, []string{"1 connect-failed, medium, at_7"}},
		"mptcp": {func(w *world) {
			w.refuse(w.create(event.Socket, app, 7, mptcp()), server)
			w.watch(8 * second)
		}, []string{"1 connect-failed, medium, at_7"}},
		"unix": {func(w *world) {
			for range 2 {
				w.connected(w.create(event.Socket, app, 7, unixStream()), netip.AddrPort{}, econnrefused)
			}
			w.watch(8 * second)
		}, []string{"2 connect-failed, high, at_7"}},
		"unix, tried again on the same socket": {do: func(w *world) {
			s := w.create(event.Socket, app, 7, unixStream())
			w.watch(60*second, func(i int) {
				if i%2 == 0 {
					w.connected(s, netip.AddrPort{}, econnrefused)
				}
			})
		}},
		"unix, connected": {do: func(w *world) {
			s := w.create(event.Socket, app, 7, unixStream())
			s.sock.State = event.StateEstablished
			s.facts.Begun, s.facts.WasEstablished = true, true
			w.connected(s, netip.AddrPort{}, 0)
			w.watch(60 * second)
		}},
		"unix, refused and then listening": {do: func(w *world) {
			s := w.create(event.Socket, app, 7, unixStream())
			w.connected(s, netip.AddrPort{}, econnrefused)
			w.listen(s)
			w.watch(60 * second)
		}},
	})
}

func TestPeerClosed(t *testing.T) {
	closed := func(w *world, unread uint32) *sock {
		s := w.connect(w.socket(7), server)
		w.sleep(second)
		w.fin(s, unread)
		return s
	}
	runScenarios(t, map[string]scenario{
		"end of file read":       {func(w *world) { closed(w, 0); w.watch(8 * second) }, []string{"1 peer-closed, medium, at_7"}},
		"three":                  {func(w *world) { closed(w, 0); closed(w, 1); closed(w, 9); w.watch(8 * second) }, []string{"3 peer-closed, high, at_7"}},
		"waited on, as in epoll": {func(w *world) { closed(w, 1).facts.Waiters = true; w.watch(8 * second) }, []string{"1 peer-closed, medium, at_7"}},
		"sent before the end only": {func(w *world) {
			s := w.connect(w.socket(7), server)
			w.send(s)
			w.sleep(time.Millisecond)
			w.fin(s, 0)
			w.watch(8 * second)
		}, []string{"1 peer-closed, medium, at_7"}},
		"sent for a while, then no more": {func(w *world) {
			s := closed(w, 0)
			w.watch(20*second, func(int) { w.send(s) })
			w.watch(8 * second)
		}, []string{"1 peer-closed, medium, at_7"}},
		"mptcp, of which the kernel tells little": {func(w *world) {
			s := w.create(event.Socket, app, 7, mptcp())
			w.connect(s, server)
			w.fin(s, 0)
			w.watch(8 * second)
		}, []string{"1 peer-closed, low, at_7"}},

		"two, one after the other": {func(w *world) {
			closed(w, 0)
			w.watch(6 * second)
			closed(w, 0)
			w.watch(6 * second)
		}, []string{"2 peer-closed, high, at_7"}},
		"still sent to":       {do: func(w *world) { s := closed(w, 0); w.watch(60*second, func(int) { w.send(s) }) }},
		"an answer is queued": {do: func(w *world) { closed(w, 0).queued = 4096; w.watch(60 * second) }},
		"closed in a moment":  {do: func(w *world) { s := closed(w, 1); w.look(); w.close(s); w.watch(20 * second) }},
		"keep-alive server, served and closed": {do: func(w *world) {
			w.watch(60*second, func(int) {
				s := w.accept(7, server)
				w.look()
				w.fin(s, 1)
				w.look()
				w.close(s)
			})
		}},
		"winding down": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.close(s)
			w.state(s, event.StateFinWait2, 0)
			w.watch(20 * second)
		}},
	})
}

func TestDead(t *testing.T) {
	runScenarios(t, map[string]scenario{
		"reset": {func(w *world) {
			for range 2 {
				w.reset(w.connect(w.socket(7), server))
			}
			w.watch(8 * second)
		}, []string{"2 dead, high, at_7"}},
		"accepted": {func(w *world) { w.reset(w.accept(7, server)); w.watch(8 * second) }, []string{"1 dead, medium, at_7"}},
		"reset while half closed": {func(w *world) {
			s := w.connect(w.socket(7), server)
			w.fin(s, 1)
			w.look()
			w.reset(s)
			w.watch(8 * second)
		}, []string{"1 dead, medium, at_7"}},
		"mptcp": {func(w *world) {
			w.reset(w.connect(w.create(event.Socket, app, 7, mptcp()), server))
			w.watch(8 * second)
		}, []string{"1 dead, medium, at_7"}},
		"preexisting": {func(w *world) { w.beforeAt(event.StateClose, server); w.watch(10 * second) }, []string{"1 dead, medium, no origin"}},
		"reset, then connected again": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.watch(60*second, func(int) { w.reset(s); w.connect(s, server) })
		}},
		"reset and closed": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.reset(s)
			w.watch(2 * second)
			w.close(s)
			w.watch(20 * second)
		}},
	})
}
