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
	if n := len(w.judge.uses); n != 0 {
		t.Errorf("%d uses of sockets that are gone are remembered", n)
	}
}
