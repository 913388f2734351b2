package verdict

import (
	"slices"
	"testing"
	"time"
)

func TestObservations(t *testing.T) {
	pool := func(w *world, n int, waited bool) {
		for range n {
			w.connect(w.socket(7), server).facts.Waiters = waited
		}
	}
	accepted := func(w *world, n int, keepalive bool) {
		for i := range n {
			s := w.accept(7, from(i+1, 1000))
			s.facts.Waiters, s.facts.KeepAlive = true, keepalive
		}
	}
	for name, c := range map[string]struct {
		do   func(w *world)
		d    time.Duration
		want []string
	}{
		"a pool or an old leak": {func(w *world) { pool(w, 4, false) }, 104 * second, []string{
			"4 connections of app (pid 1) to 10.0.0.9:443 were silent for 1 min 40 s or more and nothing waits on them: an idle pool looks like this, and so does a leak that has stopped; trace while they become more to tell"}},
		"few":             {func(w *world) { pool(w, 2, false) }, 104 * second, nil},
		"waited on":       {func(w *world) { pool(w, 4, true) }, 104 * second, nil},
		"not silent long": {func(w *world) { pool(w, 4, false) }, 60 * second, nil},
		"several pools of one origin": {func(w *world) {
			for range 3 {
				for i := range 4 {
					w.connect(w.socket(7), from(1, 80+i))
				}
			}
		}, 104 * second, []string{
			"3 connections of app (pid 1) to 10.1.0.1:80 were silent for 1 min 40 s or more and nothing waits on them: an idle pool looks like this, and so does a leak that has stopped; trace while they become more to tell",
			"3 connections of app (pid 1) to 10.1.0.1:81 were silent for 1 min 40 s or more and nothing waits on them: an idle pool looks like this, and so does a leak that has stopped; trace while they become more to tell",
			"3 connections of app (pid 1) to 10.1.0.1:82 were silent for 1 min 40 s or more and nothing waits on them: an idle pool looks like this, and so does a leak that has stopped; trace while they become more to tell",
			"3 connections of app (pid 1) to 10.1.0.1:83 were silent for 1 min 40 s or more and nothing waits on them: an idle pool looks like this, and so does a leak that has stopped; trace while they become more to tell"}},
		"clients without keepalive": {func(w *world) { accepted(w, 3, false) }, 104 * second, []string{
			"3 connections that app (pid 1) accepted on port 80 were silent for 1 min 40 s or more, and keepalive is off: if a peer vanished without a FIN, nothing would tell"}},
		"clients with keepalive": {func(w *world) { accepted(w, 3, true) }, 104 * second, nil},
		"found leaked already": {func(w *world) {
			for range 4 {
				s := w.connect(w.socket(7), server)
				w.receive(s, 5000)
				s.facts.RecvQ = 4000
			}
		}, 104 * second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.do(w)
			w.watch(c.d)
			if got := w.judge.Observations(fakeNames{}); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
