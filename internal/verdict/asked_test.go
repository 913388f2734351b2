package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// ask says where a socket was asked for, as the engine does.
func (w *world) ask(s *sock, stack uint64, via lifecycle.Asking) *sock {
	w.t.Helper()
	found := w.made(s)
	found.AskStack, found.AskVia = stack, via
	if via == lifecycle.ByGo {
		w.judge.Started(found.Creator, found.Stack, stack)
	} else {
		w.judge.Asked(found.Creator, found.Stack, stack)
	}
	return s
}

// made returns what is known of a socket that was made while tracing.
func (w *world) made(s *sock) *lifecycle.Socket {
	w.t.Helper()
	found := w.table.Socket(s.inode)
	if found == nil || found.Birth == 0 {
		w.t.Fatalf("socket %d was not made while tracing", s.inode)
	}
	return found
}

// places says of each finding where its sockets were asked for, made, and
// accepted from.
func (w *world) places() []string {
	var list []string
	for _, f := range w.findings() {
		s := fmt.Sprintf("%d %s", f.Count, f.Class)
		if r := f.RequestedAt; r != nil && r.Culprit != nil {
			s += fmt.Sprintf(", asked %s by %s", r.Frames[*r.Culprit].Function, r.Via)
			if r.Inferred {
				s += ", inferred"
			}
		}
		if len(f.Origin.Frames) > 0 {
			s += ", made " + f.Origin.Frames[0].Function
		}
		if a := f.AcceptedFrom; a != nil {
			s += ", accepted from " + *a.Address
			if a.Culprit != nil {
				s += " " + a.Frames[*a.Culprit].Function
			}
		}
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func TestAsked(t *testing.T) {
	dead := func(w *world, made uint64) *sock {
		s := w.connect(w.socket(made), server)
		w.fin(s, 0)
		return s
	}
	listener := func(w *world, made uint64, port uint16) *sock {
		s := w.socket(made)
		w.listen(s)
		s.sock.Local = netip.AddrPortFrom(local.Addr(), port)
		return s
	}
	accepted := func(w *world, from *sock) {
		k := tcp()
		k.State, k.Local, k.Remote = event.StateEstablished, from.sock.Local, other
		s := w.add(app, k)
		w.apply(event.Event{Kind: event.Accept, PID: app, FD: s.fds[0].fd, Inode: s.inode, Inode2: from.inode, Sock: k, Stack: 9})
		s.established(w.now)
		w.fin(s, 0)
	}
	tests := map[string]struct {
		do   func(*world)
		want []string
	}{
		"two ask, one place makes": {func(w *world) {
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
			w.ask(dead(w, 7), 32, lifecycle.ByLibuv)
		}, []string{"1 peer-closed, asked at_32 by libuv, made at_7", "2 peer-closed, asked at_31 by libuv, made at_7"}},
		"one asks, two places make": {func(w *world) {
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
			w.ask(dead(w, 8), 31, lifecycle.ByLibuv)
			w.ask(dead(w, 8), 31, lifecycle.ByLibuv)
		}, []string{"3 peer-closed, asked at_31 by libuv, made at_8"}},
		"from before it was known": {func(w *world) {
			dead(w, 7)
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
		}, []string{"2 peer-closed, asked at_31 by libuv, inferred, made at_7"}},
		"the event loop's stack alone, and one asks": {func(w *world) {
			dead(w, 1001)
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
		}, []string{"2 peer-closed, asked at_31 by libuv, inferred, made at_7"}},
		"the event loop's stack alone, and two ask": {func(w *world) {
			dead(w, 1001)
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
			w.ask(dead(w, 7), 32, lifecycle.ByLibuv)
		}, []string{"1 peer-closed", "1 peer-closed, asked at_31 by libuv, made at_7", "1 peer-closed, asked at_32 by libuv, made at_7"}},
		"from before, and two ask": {func(w *world) {
			dead(w, 7)
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
			w.ask(dead(w, 7), 32, lifecycle.ByLibuv)
		}, []string{"1 peer-closed, asked at_31 by libuv, made at_7", "1 peer-closed, asked at_32 by libuv, made at_7",
			"1 peer-closed, made at_7"}},
		"from before, and one asks that comes and goes": {func(w *world) {
			dead(w, 7)
			w.close(w.ask(w.connect(w.socket(7), server), 31, lifecycle.ByLibuv))
		}, []string{"1 peer-closed, made at_7"}},
		"more from before than ask": {func(w *world) {
			dead(w, 7)
			dead(w, 7)
			w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
		}, []string{"1 peer-closed, asked at_31 by libuv, made at_7", "2 peer-closed, made at_7"}},
		"more from before than ask, and enough ask": {func(w *world) {
			for range enoughWitnesses + 2 {
				dead(w, 7)
			}
			for range enoughWitnesses {
				w.ask(dead(w, 7), 31, lifecycle.ByLibuv)
			}
		}, []string{"18 peer-closed, asked at_31 by libuv, inferred, made at_7"}},
		"two go statements, one function dials": {func(w *world) {
			w.ask(dead(w, 7), 31, lifecycle.ByGo)
			w.ask(dead(w, 7), 32, lifecycle.ByGo)
		}, []string{"1 peer-closed, asked at_31 by go-created-by, made at_7", "1 peer-closed, asked at_32 by go-created-by, made at_7"}},
		"one go statement, two functions dial": {func(w *world) {
			w.ask(dead(w, 7), 31, lifecycle.ByGo)
			w.ask(dead(w, 8), 31, lifecycle.ByGo)
		}, []string{"1 peer-closed, asked at_31 by go-created-by, made at_7", "1 peer-closed, asked at_31 by go-created-by, made at_8"}},
		"two listeners, one place accepts": {func(w *world) {
			a, b := listener(w, 11, 80), listener(w, 12, 81)
			w.ask(b, 33, lifecycle.ByLibuv)
			w.look()
			accepted(w, a)
			accepted(w, a)
			accepted(w, b)
		}, []string{"1 peer-closed, made at_9, accepted from 10.0.0.1:81 at_33", "2 peer-closed, made at_9, accepted from 10.0.0.1:80 at_11"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.look()
			test.do(w)
			w.watch(12 * second)
			if got := w.places(); !slices.Equal(got, test.want) {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

// What was made before it could be known who asks, and isn't old enough alone, counts
// with those of which it is known, if it can only be of one that asks.
func TestAskedYoung(t *testing.T) {
	unread := func(s *sock) *sock {
		s.facts.RecvQ, s.facts.BytesIn = 4000, 5000
		return s
	}
	for name, test := range map[string]struct {
		askers []uint64
		want   []string
	}{
		"one asks":    {[]uint64{31, 31}, []string{"6 abandoned, asked at_31 by libuv, inferred, made at_7"}},
		"none asks":   {nil, []string{"4 abandoned"}},
		"another too": {[]uint64{31, 32}, []string{"3 abandoned"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for range 3 {
				unread(w.beforeAt(event.StateEstablished, server))
			}
			w.look()
			unread(w.connect(w.socket(1001), server))
			w.watch(8 * second)
			for _, by := range test.askers {
				w.ask(unread(w.connect(w.socket(7), server)), by, lifecycle.ByLibuv)
			}
			w.watch(20 * second)
			if got := w.places(); !slices.Equal(got, test.want) {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestAskedGrowthFromBefore: what grows on the event loop's stack alone has the
// origin of what was asked for, and with it those from before.
func TestAskedGrowthFromBefore(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.beforeAt(event.StateEstablished, server)
	}
	w.look()
	for range 3 {
		s := w.ask(w.connect(w.socket(7), server), 31, lifecycle.ByLibuv)
		s.facts.RecvQ = 100
	}
	w.watch(140*second, func(i int) {
		s := w.connect(w.socket(1001), server)
		if i == 0 {
			w.fin(s, 0)
		}
	})
	want := []string{"1 peer-closed", "75 abandoned, asked at_31 by libuv, inferred, made at_7"}
	if got := w.places(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAskedGrowth: what two listeners, or two go statements, opened is counted for
// each by itself.
func TestAskedGrowth(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.watch(40*second, func(int) {
		for by := range uint64(3) { // the first two close theirs
			s := w.ask(w.create(event.Socket, app, 7, udp()), 31+by, lifecycle.ByGo)
			if by < 2 {
				w.close(s)
			}
		}
	})
	want := []string{"20 growing, asked at_33 by go-created-by, made at_7"}
	if got := w.places(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
