package verdict

import (
	"slices"
	"testing"

	"sockleak/internal/event"
)

// spared makes a socket whose stack was left out.
func (w *world) spared(call uint64) *sock {
	s := w.add(app, tcp())
	w.apply(event.Event{Kind: event.Socket, PID: app, FD: s.fds[0].fd, Inode: s.inode, Sock: s.sock, Stack: call, Call: call, Spared: true})
	return s
}

// walked makes one that has its stack.
func (w *world) walked(call, stack uint64) *sock {
	s := w.add(app, tcp())
	w.apply(event.Event{Kind: event.Socket, PID: app, FD: s.fds[0].fd, Inode: s.inode, Sock: s.sock, Stack: stack, Call: call})
	w.judge.Called(process(app), call, stack)
	return s
}

// A socket whose stack was left out has the origin of the others made by the same
// call, until it turns out that the call is made by several.
func TestSpared(t *testing.T) {
	const call = 5000
	runScenarios(t, map[string]scenario{
		"one origin": {func(w *world) {
			w.spared(call)
			w.walked(call, 7)
			w.spared(call)
			w.watch(8 * second)
		}, []string{"3 never-used, high, inferred at_7"}},
		"one complete stack": {func(w *world) {
			w.spared(call)
			// Frame pointers lead astray: another stack each time.
			w.walked(call, 7)
			w.walked(call, 8)
			w.judge.Better(process(app), call, 7, 9)
			w.judge.Better(process(app), call, 8, 9)
			w.socket(9)
			w.watch(8 * second)
		}, []string{"4 never-used, high, inferred at_9"}},
		"a stack that was exchanged twice": {func(w *world) {
			w.spared(call)
			for range 2 {
				w.walked(call, 7)
				w.judge.Better(process(app), call, 7, 8)
				w.judge.Better(process(app), call, 8, 9)
			}
			w.socket(8)
			w.watch(8 * second)
		}, []string{"4 never-used, high, inferred at_9"}},
		"one exchanged twice, and another": {func(w *world) {
			w.spared(call)
			w.walked(call, 7)
			w.judge.Better(process(app), call, 7, 8)
			w.judge.Better(process(app), call, 8, 9)
			w.judge.Better(process(app), call, 6, 10)
			w.watch(8 * second)
		}, []string{"1 never-used, medium, at_9", "1 never-used, medium, no origin"}},
		"several": {func(w *world) {
			w.spared(call)
			w.spared(call)
			w.walked(call, 7)
			w.walked(call, 8)
			w.watch(8 * second)
		}, []string{"2 never-used, high, no origin", "1 never-used, medium, at_7", "1 never-used, medium, at_8"}},
	})
}

// What lacks is said with the finding.
func TestLacking(t *testing.T) {
	w := newWorld(t)
	w.spared(5000)
	lost := w.walked(5000, 7)
	w.made(lost).Lack = event.LackLost
	crowded := w.walked(5000, 7)
	w.made(crowded).Lack = event.LackCrowded
	w.watch(8 * second)
	findings := w.judge.Findings(w.table, fakeNames{})
	if len(findings) != 1 {
		t.Fatalf("%d findings", len(findings))
	}
	for _, want := range []string{
		"1 of 3: stack lost",
		"1 of 3: stack lost: more were made at once than are copied",
		"1 of 3: stack left out by --stack-rate; the origin is that of others made by the same call",
	} {
		if !slices.Contains(findings[0].Evidence, want) {
			t.Errorf("no %q in %q", want, findings[0].Evidence)
		}
	}
}
