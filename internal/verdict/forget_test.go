package verdict

import (
	"maps"
	"slices"
	"testing"

	"sockleak/internal/event"
)

// What is learned of a process after it has ended is let go of at the next look,
// unless it left sockets to be judged by.
func TestForgetLateNews(t *testing.T) {
	learn := func(w *world, p event.ProcessKey) {
		j := w.judge
		j.Created(&event.Event{Kind: event.Accept, PID: p.PID, Start: p.Start, Stack: 7, Inode2: 1})
		j.Better(p, 1, 7, 8)
		j.Called(p, 1, 8)
		j.Asked(p, 8, 9)
		j.asked.note(p, 8, 9) // a look does
		j.AskCalled(p, 2, 9)
		j.AskSpared(p, 8, 2)
		j.Started(p, 8, 10)
		j.Used(&event.Event{Kind: event.Use, PID: p.PID, Start: p.Start, Call: 3, Stack: 11, Inode: 1})
		j.BetterUse(p, 1, 0, 3, 11, 12)
		j.origins.learn(p, 8, fakeNames{})
	}
	kept := func(w *world) [][]event.ProcessKey {
		j := w.judge
		return [][]event.ProcessKey{
			slices.Collect(maps.Keys(j.opened)), slices.Collect(maps.Keys(j.better)), slices.Collect(maps.Keys(j.calls)),
			slices.Collect(maps.Keys(j.asked)), slices.Collect(maps.Keys(j.standing)), slices.Collect(maps.Keys(j.askCalls)), slices.Collect(maps.Keys(j.askSpared)),
			slices.Collect(maps.Keys(j.divided)), slices.Collect(maps.Keys(j.uses.better)), slices.Collect(maps.Keys(j.uses.calls)),
			slices.Collect(maps.Keys(j.origins.standIn)),
		}
	}
	for name, c := range map[string]struct{ leaves, lives, kept bool }{
		"one that left nothing": {},
		"one that left sockets": {leaves: true, kept: true},
		"one that lives":        {leaves: true, lives: true, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := process(2)
			for range 2 {
				s := w.create(event.Socket, p.PID, 7, tcp())
				if !c.leaves {
					w.close(s)
				}
			}
			w.sleep(second)
			if !c.lives {
				w.exit(p.PID)
			}
			var want []event.ProcessKey
			if c.kept {
				want = []event.ProcessKey{p}
			}
			for i := range kept(w) {
				learn(w, p)
				// It would be forgotten for what else is known of it.
				for k, m := range w.judge.memories() {
					if k != i && !c.kept {
						m.forget(p)
					}
				}
				w.look()
				if got := kept(w)[i]; !slices.Equal(got, want) {
					t.Errorf("memory %d is of %v, want %v", i, got, want)
				}
			}
		})
	}
}
