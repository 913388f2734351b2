package verdict

import (
	"testing"

	"sockleak/internal/event"
)

func TestRising(t *testing.T) {
	connect := func(w *world, n int) (made []*sock) {
		for range n {
			made = append(made, w.connect(w.socket(7), server))
		}
		return made
	}
	tests := map[string]struct {
		do   func(w *world)
		want Rising
	}{
		"opened and never closed, for ten seconds": {func(w *world) { w.watch(10*second, func(int) { connect(w, 10) }) }, Rising{Early: 50}},
		"opened and never closed, for a minute":    {func(w *world) { w.watch(60*second, func(int) { connect(w, 1) }) }, Rising{Used: 30}},
		"without a stack":                          {func(w *world) { w.watch(60*second, func(int) { w.connect(w.socket(0), server) }) }, Rising{Nameless: 30}},
		"until a rule accuses them":                {func(w *world) { w.watch(120*second, func(int) { connect(w, 1) }) }, Rising{}},
		"a pool that is filled at once":            {func(w *world) { connect(w, 20); w.watch(10 * second) }, Rising{}},
		"a pool that is filled, and then is":       {func(w *world) { w.watch(4*second, func(int) { connect(w, 10) }); w.watch(10 * second) }, Rising{}},
		"two sockets":                              {func(w *world) { w.watch(4*second, func(int) { connect(w, 1) }) }, Rising{}},
		"closed again, most":                       {func(w *world) { w.watch(10*second, func(int) { w.close(connect(w, 5)[0]) }) }, Rising{Early: 20}},
		"closed again, all":                        {func(w *world) { w.watch(10*second, func(int) { s := connect(w, 1); w.look(); w.close(s[0]) }) }, Rising{}},
		"datagram sockets, for ten seconds":        {func(w *world) { w.watch(10*second, func(int) { w.create(event.Socket, app, 7, udp()) }) }, Rising{Early: 5}},
		"clients that come and stay, waited for":   {func(w *world) { w.watch(60*second, func(int) { w.accept(7, other).facts.Waiters = true }) }, Rising{}},
		"clients that come and stay, soon":         {func(w *world) { w.watch(10*second, func(int) { w.accept(7, other).facts.Waiters = true }) }, Rising{}},
		"accepted, and nobody waits":               {func(w *world) { w.watch(10*second, func(int) { w.accept(7, other) }) }, Rising{Early: 5}},
		"from before, and not one more":            {func(w *world) { w.beforeAt(event.StateEstablished, server); w.watch(60 * second) }, Rising{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.do(w)
			if got := w.judge.Rising(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
