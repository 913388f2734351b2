package verdict

import (
	"net/netip"
	"slices"
	"testing"

	"sockleak/internal/event"
)

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
		"one more, beside a listener of AF_UNIX": {func(w *world) {
			w.add(2, unixStream()).sock.State = event.StateListen
			for range 10 {
				w.before(tcp())
			}
			w.look()
			w.socket(7)
			w.watch(8 * second)
		}, []string{"11 never-used, high, inferred at_7"}},
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
		"one more that is on the way": {func(w *world) {
			for range 3 {
				w.beforeAt(event.StateClose, server).facts.WasEstablished = false
			}
			w.look()
			w.dial(w.socket(7), server)
			w.dial(w.socket(7), server)
			w.watch(10 * second)
		}, []string{"3 connect-failed, high, inferred at_7", "2 connect-pending, medium, at_7"}},
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
		"accepted, and reset": {func(w *world) {
			for i := range 10 {
				s := w.beforeAt(event.StateClose, netip.AddrPortFrom(other.Addr(), uint16(5000+i)))
				s.sock.Local = netip.AddrPort{}
			}
			w.look()
			w.reset(w.accept(7, netip.AddrPortFrom(other.Addr(), 6000)))
			w.watch(8 * second)
		}, []string{"11 dead, high, inferred at_7"}},
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

// A lesser stack is that of the better one of the same call, until it turns out
// to stand for several.
func TestBetter(t *testing.T) {
	runScenarios(t, map[string]scenario{
		"one": {func(w *world) {
			w.socket(507)
			w.socket(507)
			w.judge.Better(process(app), 0, 507, 8)
			w.socket(8)
			w.watch(8 * second)
		}, []string{"3 never-used, high, inferred at_8"}},
		"one, that was complete already": {func(w *world) {
			w.socket(7)
			w.judge.Better(process(app), 0, 7, 8)
			w.socket(8)
			w.watch(8 * second)
		}, []string{"2 never-used, high, at_8"}},
		"several": {func(w *world) {
			w.socket(7)
			w.socket(7)
			w.judge.Better(process(app), 0, 7, 8)
			w.socket(8)
			w.judge.Better(process(app), 0, 7, 9)
			w.socket(9)
			w.watch(8 * second)
		}, []string{"2 never-used, high, at_7", "1 never-used, medium, at_8", "1 never-used, medium, at_9"}},
	})
}

// What reads the same is one origin; what says nothing of the program's code is
// told apart by what it is for.
func TestOneOrigin(t *testing.T) {
	runScenarios(t, map[string]scenario{
		"compiled again": {func(w *world) {
			for _, id := range []uint64{7, 107, 207} {
				w.socket(id)
			}
			w.socket(8)
			w.watch(8 * second)
		}, []string{"3 never-used, high, at_7", "1 never-used, medium, at_8"}},
		"no frame of the program": {func(w *world) {
			for _, id := range []uint64{1000, 1001, 1002} {
				w.fin(w.connect(w.socket(id), server), 1)
			}
			w.fin(w.connect(w.socket(1003), other), 1)
			w.watch(8 * second)
		}, []string{"3 peer-closed, high, no origin", "1 peer-closed, medium, no origin"}},
	})
}
