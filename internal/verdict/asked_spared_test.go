package verdict

import (
	"slices"
	"strings"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// askBy is ask by a call that is known.
func (w *world) askBy(s *sock, call, stack uint64) {
	w.t.Helper()
	w.judge.AskCalled(process(app), call, stack)
	w.ask(s, stack, lifecycle.ByLibuv)
}

// askSpared says that the stack where a socket was asked for was left out.
func (w *world) askSpared(s *sock, call uint64) {
	w.t.Helper()
	found := w.made(s)
	found.AskStack, found.AskVia = call, lifecycle.ByLibuvSpared
	w.judge.AskSpared(found.Creator, found.Stack, call)
}

// TestAskSpared: a socket of which only the call is known that asked is of the place
// that all others of that call are of, if there is one, and of none if not. made is
// shared by all: an event loop's.
func TestAskSpared(t *testing.T) {
	const call, otherCall, made, elsewhere = 9001, 9002, 7, 8
	dead := func(w *world, stack uint64) *sock {
		s := w.connect(w.socket(stack), server)
		w.fin(s, 0)
		return s
	}
	const (
		unknown  = "the stack where the program asked for"
		inferred = "; the line is that of others asked for by the same call"
	)
	tests := map[string]struct {
		do       func(*world)
		want     []string
		evidence []string // parts of it, over all findings
		reason   string   // of requested_at of the first without a line
	}{
		"one place": {func(w *world) {
			w.askBy(dead(w, made), call, 31)
			w.askSpared(dead(w, made), call)
		}, []string{"2 peer-closed, asked at_31 by libuv, inferred, made at_7"},
			[]string{"1 of 2: " + unknown + " it was left out by --stack-rate" + inferred}, ""},
		"each call its place": {func(w *world) {
			w.askBy(dead(w, made), call, 31)
			w.askBy(dead(w, made), otherCall, 32)
			w.askSpared(dead(w, made), call)
		}, []string{"1 peer-closed, asked at_32 by libuv, made at_7", "2 peer-closed, asked at_31 by libuv, inferred, made at_7"}, nil, ""},
		"known only later": {func(w *world) {
			w.askSpared(dead(w, made), call)
			w.watch(4 * second)
			w.askBy(dead(w, made), call, 31)
			w.askBy(dead(w, made), otherCall, 32)
		}, []string{"1 peer-closed, asked at_32 by libuv, made at_7", "2 peer-closed, asked at_31 by libuv, inferred, made at_7"}, nil, ""},
		"a call with two places": {func(w *world) {
			w.askBy(dead(w, made), call, 31)
			w.askBy(dead(w, made), call, 32)
			w.askSpared(dead(w, made), call)
			w.askSpared(dead(w, made), call)
		}, []string{"1 peer-closed, asked at_31 by libuv, made at_7", "1 peer-closed, asked at_32 by libuv, made at_7", "2 peer-closed, made at_7"},
			[]string{"both: " + unknown + " them was left out by --stack-rate"}, "stack left out by --stack-rate"},
		"no stack of the call at all": {func(w *world) {
			w.askBy(dead(w, elsewhere), otherCall, 31)
			w.askSpared(dead(w, made), call)
		}, []string{"1 peer-closed, asked at_31 by libuv, made at_8", "1 peer-closed, made at_7"}, nil, "stack left out by --stack-rate"},
		"the event loop's stack alone, and one asks": {func(w *world) {
			w.askBy(dead(w, made), otherCall, 31)
			w.askSpared(dead(w, 1001), call)
		}, []string{"2 peer-closed, asked at_31 by libuv, inferred, made at_7"},
			[]string{"1 of 2: " + unknown + " it was left out by --stack-rate" + inferred}, ""},
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
			var evidence []string
			reason := ""
			for _, f := range w.findings() {
				evidence = append(evidence, f.Evidence...)
				if r := f.RequestedAt; r != nil && r.Culprit == nil {
					reason = r.Reason
				}
			}
			for _, want := range test.evidence {
				if !slices.ContainsFunc(evidence, func(s string) bool { return strings.HasPrefix(s, want) }) {
					t.Errorf("no %q in %q", want, evidence)
				}
			}
			if reason != test.reason {
				t.Errorf("it is not known where they were asked for: got %q, want %q", reason, test.reason)
			}
		})
	}
}

// TestAskSparedGrowth: what was opened at a place counts those too that only the call
// says were asked for there, and not with those of another.
func TestAskSparedGrowth(t *testing.T) {
	const made = 7
	w := newWorld(t)
	w.look()
	w.watch(40*second, func(i int) {
		leaked, tidy := w.create(event.Socket, app, made, udp()), w.create(event.Socket, app, made, udp())
		if i%4 == 0 {
			w.askBy(leaked, 9001, 31)
			w.askBy(tidy, 9002, 32)
		} else {
			w.askSpared(leaked, 9001)
			w.askSpared(tidy, 9002)
		}
		w.close(tidy)
	})
	want := []string{"20 growing, asked at_31 by libuv, inferred, made at_7"}
	if got := w.places(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	const opened = "20 opened here since tracing began, 20 still open"
	if f := w.findings()[0]; !slices.Contains(f.Evidence, opened) {
		t.Errorf("no %q in %q", opened, f.Evidence)
	}
}
