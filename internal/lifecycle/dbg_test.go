package lifecycle

import (
	"fmt"
	"os"
	"sockleak/internal/event"
	"strconv"
	"testing"
)

func TestDbg(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if seed == 0 {
		t.Skip()
	}
	w := newWorld(seed, os.Getenv("LOSSY") != "")
	var log []string
	names := []string{"", "Socket", "Pair", "Accept", "Connect", "Close", "CloseRange", "Dup", "TCPState", "TCPDestroy", "Fork", "Exec", "ExecFDs", "Exit", "TableExit", "Unshare"}
	emit := w.emit
	w.emit = func(e *event.Event) {
		n := len(w.queue)
		emit(e)
		if e.Kind != event.TCPState {
			log = append(log, fmt.Sprintf("%d %s lost=%t pid %d table %d<-%d fd %d-%d inode %d child %d", e.Time, names[e.Kind], n == len(w.queue), e.PID, e.Table, e.Table2, e.FD, e.FD2, e.Inode, e.ChildPID))
		}
	}
	w.log = func(s string) { log = append(log, s) }
	defer func() {
		for _, l := range log[max(0, len(log)-3000):] {
			fmt.Println(l)
		}
	}()
	for n := 0; n < 70000; n++ {
		w.step()
		if w.rnd.IntN(3) == 0 {
			w.drain()
		}
		w.round(t, n)
	}
}
