package verdict

import (
	"net/netip"
	"testing"

	"sockleak/internal/event"
)

// Connections that a worker was handed, by SCM_RIGHTS or by fork, have the port of a
// listener that it doesn't hold: they are one finding, not one for each peer.
func TestHandedConnections(t *testing.T) {
	const acceptor, otherNS = 2, 77
	clients := func(w *world) {
		for i := range 3 {
			s := w.beforeAt(event.StateCloseWait, netip.AddrPortFrom(other.Addr(), uint16(50000+i)))
			s.sock.Local = netip.AddrPortFrom(local.Addr(), 80)
		}
	}
	listener := func(w *world) *sock {
		k := tcp()
		k.State, k.Local = event.StateListen, netip.AddrPortFrom(netip.IPv4Unspecified(), 80)
		s := w.add(acceptor, k)
		s.facts.Waiters = true
		return s
	}
	var apart []string
	for range 3 {
		apart = append(apart, "1 peer-closed, medium, no origin")
	}
	together := []string{"3 peer-closed, high, no origin"}
	runScenarios(t, map[string]scenario{
		"of an acceptor that is looked at": {func(w *world) { clients(w); listener(w); w.watch(8 * second) }, together},
		"of one that has closed its listener since": {func(w *world) {
			clients(w)
			l := listener(w)
			w.look()
			w.close(l)
			w.watch(8 * second)
		}, together},
		"of one that is not looked at": {func(w *world) {
			clients(w)
			w.judge.Listening(Listener{Port: 80})
			w.watch(8 * second)
		}, together},
		"a listener of another network namespace": {func(w *world) {
			clients(w)
			w.judge.Listening(Listener{NetNS: otherNS, Port: 80})
			w.watch(8 * second)
		}, apart},
		"a listener on another port": {func(w *world) {
			clients(w)
			w.judge.Listening(Listener{Port: 81})
			w.watch(8 * second)
		}, apart},
		"made by connect, bound to the port of a listener": {func(w *world) {
			w.judge.Listening(Listener{Port: 80})
			for i := range 3 {
				s := w.create(event.Socket, app, uint64(1001+i), tcp())
				w.connect(s, netip.AddrPortFrom(server.Addr(), uint16(50000+i)))
				s.sock.Local = netip.AddrPortFrom(local.Addr(), 80)
				w.fin(s, 1)
			}
			w.watch(8 * second)
		}, apart},
	})
}

// A port is news once, and no more are remembered than there is room for.
func TestListening(t *testing.T) {
	j := NewJudge(Patience{}, 0)
	if !j.Listening(Listener{1, 80}) || j.Listening(Listener{1, 80}) || !j.Listening(Listener{2, 80}) {
		t.Error("a port is not news exactly once in each namespace")
	}
	for ns := range uint32(3) {
		for n := range maxListeners {
			j.Listening(Listener{ns, uint16(n)})
		}
	}
	if len(j.listened) != maxListeners {
		t.Errorf("%d ports remembered", len(j.listened))
	}
}
