package verdict

import (
	"reflect"
	"slices"
	"testing"

	"sockleak/internal/event"
)

// TestLastUse: what counts is the last telling call on each socket, not on an
// earlier one with the same inode number.
func TestLastUse(t *testing.T) {
	w := newWorld(t)
	use := func(s *sock, op event.Op, errno int32, stack uint64) {
		w.apply(event.Event{Kind: event.Use, PID: app, FD: s.fds[0].fd, Inode: s.inode, Op: op, Errno: errno, Stack: stack})
	}
	old := w.socket(7)
	use(old, event.Shutdown, 0, 9)
	w.close(old)
	w.inode--
	leak := func() *sock {
		s := w.connect(w.socket(7), server)
		w.fin(s, 0)
		return s
	}
	leak() // nothing is known of it
	for range 2 {
		s := leak()
		use(s, event.EpollDel, 0, 8)
		use(s, event.Read, 0, 9)
	}
	use(leak(), event.Write, econnreset, 8)
	w.watch(8 * second)

	type short struct {
		operation, result, at string
		count                 int
	}
	var got []short
	for _, u := range w.findings()[0].LastUse {
		got = append(got, short{u.Operation, u.Result, u.Origin.Frames[*u.Origin.Culprit].Function, u.Count})
	}
	want := []short{{"read", "end of file", "at_9", 2}, {"write", "ECONNRESET: connection reset by peer", "at_8", 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, s := range slices.Clone(w.socks) {
		w.close(s)
	}
	w.watch(4 * second)
	if n := len(w.judge.uses.last); n != 0 {
		t.Errorf("%d uses of sockets that are gone are remembered", n)
	}
}

// TestLastUseStacks: what is known of the stacks of a call counts for those whose own
// was left out or is a lesser one, and what is not known is said.
func TestLastUseStacks(t *testing.T) {
	type place struct {
		at, reason string
		inferred   bool
	}
	const call = 1001 // names no stack
	tests := map[string]struct {
		do   func(w *world, use func(spared bool, stack uint64) (inode, at uint64))
		want map[place]int
	}{
		"spared, and the call is known": {func(_ *world, use func(bool, uint64) (uint64, uint64)) {
			use(false, 8)
			use(true, call)
		}, map[place]int{{"at_8", "", true}: 2}},
		"spared, and the call is several": {func(_ *world, use func(bool, uint64) (uint64, uint64)) {
			use(false, 8)
			use(false, 9)
			use(true, call)
		}, map[place]int{{"at_8", "", false}: 1, {"at_9", "", false}: 1, {"", "stack left out by --stack-rate", false}: 1}},
		"exchanged, and with it those of the same call": {func(w *world, use func(bool, uint64) (uint64, uint64)) {
			inode, at := use(false, 507)
			use(false, 507)
			use(true, call)
			w.judge.BetterUse(process(app), inode, at, call, 507, 8)
		}, map[place]int{{"at_8", "", true}: 3}},
		"frame pointers that lead astray, exchanged for one": {func(w *world, use func(bool, uint64) (uint64, uint64)) {
			for _, lesser := range []uint64{507, 508} {
				inode, at := use(false, lesser)
				w.judge.BetterUse(process(app), inode, at, call, lesser, 9)
			}
			use(true, call)
		}, map[place]int{{"at_9", "", true}: 3}},
		"exchanged for several": {func(w *world, use func(bool, uint64) (uint64, uint64)) {
			for _, better := range []uint64{8, 9} {
				inode, at := use(false, 507)
				w.judge.BetterUse(process(app), inode, at, call, 507, better)
			}
			use(false, 507)
		}, map[place]int{{"at_8", "", false}: 1, {"at_9", "", false}: 1, {"at_7", "", false}: 1}},
		"an earlier use of the socket is exchanged": {func(w *world, use func(bool, uint64) (uint64, uint64)) {
			inode, at := use(false, 9)
			w.judge.BetterUse(process(app), inode, at-1, 0, 0, 8)
		}, map[place]int{{"at_9", "", false}: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.do(w, func(spared bool, stack uint64) (inode, at uint64) {
				s := w.connect(w.socket(7), server)
				w.fin(s, 0)
				w.apply(event.Event{Kind: event.Use, PID: app, FD: s.fds[0].fd, Inode: s.inode, Op: event.Read, Stack: stack, Call: call, Spared: spared})
				return s.inode, w.now
			})
			w.watch(8 * second)
			got := map[place]int{}
			for _, u := range w.findings()[0].LastUse {
				p := place{reason: u.Origin.Reason, inferred: u.Origin.Inferred}
				if len(u.Origin.Frames) > 0 {
					p.at = u.Origin.Frames[0].Function
				}
				got[p] += u.Count
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	w := newWorld(t)
	w.apply(event.Event{Kind: event.Use, PID: app, Inode: 5, Stack: 7, Call: call})
	w.judge.BetterUse(process(app), 5, w.now, call, 7, 8)
	w.exit(app)
	if n := len(w.judge.uses.better) + len(w.judge.uses.calls); n != 0 {
		t.Errorf("%d processes that are gone are remembered", n)
	}
}
