package verdict

import (
	"slices"
	"strings"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// TestNameless: what an interpreted program made before tracing, and before stacks of
// its language were there, counts with the one line that leaks the like. An event
// loop's complete stack is a place of its own.
func TestNameless(t *testing.T) {
	closed := func(w *world, stack uint64) { w.fin(w.connect(w.socket(stack), server), 1) }
	reset := func(w *world, stack uint64) { w.reset(w.connect(w.socket(stack), server)) }
	runScenarios(t, map[string]scenario{
		"two lines of two classes": {func(w *world) {
			for range 2 {
				w.beforeAt(event.StateCloseWait, server)
				w.beforeAt(event.StateClose, server)
			}
			w.look()
			closed(w, 951)
			reset(w, 951)
			w.watch(6 * second)
			for _, line := range []uint64{7, 8} {
				w.judge.Better(process(app), 0, 951, line)
			}
			closed(w, 7)
			reset(w, 8)
			w.watch(8 * second)
		}, []string{"4 dead, high, inferred at_8", "4 peer-closed, high, inferred at_7"}},
		"two lines of one class": {func(w *world) {
			w.beforeAt(event.StateCloseWait, server)
			w.look()
			closed(w, 951)
			closed(w, 7)
			closed(w, 8)
			w.watch(8 * second)
		}, []string{"1 peer-closed, medium, at_7", "1 peer-closed, medium, at_8",
			"1 peer-closed, medium, no origin", "1 peer-closed, medium, loop"}},
		"another class": {func(w *world) {
			w.look()
			closed(w, 951)
			reset(w, 8)
			w.watch(8 * second)
		}, []string{"1 dead, medium, at_8", "1 peer-closed, medium, loop"}},
		"a complete stack of an event loop": {func(w *world) {
			w.beforeAt(event.StateCloseWait, server)
			w.look()
			closed(w, 901)
			closed(w, 7)
			w.watch(8 * second)
		}, []string{"1 peer-closed, medium, at_7", "1 peer-closed, medium, no origin", "1 peer-closed, medium, loop"}},
		"too young alone": {func(w *world) {
			w.look()
			closed(w, 7)
			w.watch(8 * second)
			closed(w, 951)
			w.watch(4 * second)
		}, []string{"2 peer-closed, high, inferred at_7"}},
	})
}

// What names a line comes before what names none, whatever their numbers, but not
// before what is surer.
func TestNamedFirst(t *testing.T) {
	w := newWorld(t)
	for range 9 {
		w.beforeAt(event.StateCloseWait, server)
	}
	w.beforeAt(event.StateCloseWait, other)
	w.look()
	w.reset(w.connect(w.socket(8), server))
	w.watch(8 * second)
	want := []string{"9 peer-closed, high, no origin", "1 dead, medium, at_8", "1 peer-closed, medium, no origin"}
	if got := w.brief(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNamelessEvidence(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.fin(w.connect(w.socket(951), server), 1)
	w.fin(w.connect(w.socket(7), server), 1)
	w.watch(8 * second)
	const want = "1 of 2 has a stack that lacks frames and names no line; the line is that of others of the same class and peer"
	if f := w.findings(); len(f) != 1 || !slices.Contains(f[0].Evidence, want) {
		t.Errorf("got %+v, want one with %q", f, want)
	}
	// Where it is known who asked, it is said once.
	for _, s := range w.socks {
		if s.inode%2 == 0 {
			w.ask(s, 31, lifecycle.ByLibuv)
		}
	}
	w.watch(2 * second)
	unasked := func(e string) bool { return strings.Contains(e, "where the program asked for it was not seen") }
	if f := w.findings(); len(f) != 1 || slices.Contains(f[0].Evidence, want) || !slices.ContainsFunc(f[0].Evidence, unasked) {
		t.Errorf("got %+v, want one that says who asked", f)
	}
}

// How many there were is kept when stacks that name no line are exchanged, for one
// that does or for another that doesn't, known before or not.
func TestNamelessSeries(t *testing.T) {
	leak := func(w *world, stack uint64) { w.fin(w.connect(w.socket(stack), server), 1) }
	for name, test := range map[string]struct {
		known bool
		to    uint64
		want  string
	}{
		"a line":                 {false, 7, "at_7"},
		"a line that was known":  {true, 7, "at_7"},
		"none":                   {false, 952, "loop"},
		"none, which was known":  {true, 952, "loop"},
		"none, but all there is": {false, 901, "loop"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.look()
			if test.known {
				w.reset(w.connect(w.socket(test.to), other))
			}
			w.watch(20*second, func(int) { leak(w, 951) })
			w.judge.Better(process(app), 0, 951, test.to)
			w.watch(6*second, func(int) { leak(w, test.to) })
			f := w.findings()
			i := slices.IndexFunc(f, func(f Finding) bool { return f.Class == PeerClosed })
			var got []int
			for _, s := range f[i].Series {
				got = append(got, s.Count)
			}
			want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
			if !slices.Equal(got, want) || f[i].Count != 13 || f[i].Origin.Frames[0].Function != test.want {
				t.Errorf("%d at %s, series %v, want 13 at %s, %v", f[i].Count, f[i].Origin.Frames[0].Function, got, test.want, want)
			}
		})
	}
}
