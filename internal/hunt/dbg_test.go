package hunt

import (
	"fmt"
	"os"
	"sockleak/internal/event"
	"strings"
	"testing"
)

func dbgMiss(t *testing.T, k *traced) {
	for n, m := range k.probe.DbgMisses() {
		if m > 0 {
			t.Log("missed", n, m)
		}
	}
	l, _ := k.probe.Loss()
	t.Logf("%+v", l)
}

var kinds = []string{"", "Socket", "Pair", "Accept", "Connect", "Close", "CloseRange", "Dup", "TCPState", "TCPDestroy", "Fork", "Exec", "ExecFDs", "Exit", "TableExit", "Unshare"}

func line(e *event.Event, t0 uint64) string {
	return fmt.Sprintf("%9.3fms %s pid %d/%d table %x<-%x fd %d-%d inode %d %d child %d cloexec %t alone %t begin %d", float64(e.Time-t0)/1e6, kinds[e.Kind], e.PID, e.TID, e.Table&0xffffff, e.Table2&0xffffff, e.FD, e.FD2, e.Inode, e.Inode2, e.ChildPID, e.CloseOnExec, e.Alone, int64(e.Time-e.Begin))
}

func dbgDump(t *testing.T, k *traced, name string) {
	f, _ := os.Create(name)
	defer f.Close()
	for i := range k.events {
		e := &k.events[i]
		if e.Kind == event.TCPState || e.Kind == event.TCPDestroy || e.Kind == event.Connect {
			continue
		}
		fmt.Fprintln(f, line(e, k.events[0].Time))
	}
	for _, pid := range group(t, k.pgid) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for _, l := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(l, "PPid") {
				fmt.Fprintln(f, "LIVE", pid, threads(t, pid), l)
			}
		}
	}
	for _, l := range difference(k.table(), k.kernel()) {
		fmt.Fprintln(f, "DIFF", l)
	}
}
