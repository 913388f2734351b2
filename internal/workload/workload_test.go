package workload

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// within waits until the number of open sockets of a process is as wanted.
func within(t *testing.T, limit time.Duration, pid int, ok func(n int) bool) int {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		sockets, err := Sockets(pid)
		if err != nil {
			t.Fatal(err)
		}
		if ok(len(sockets)) {
			return len(sockets)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets open after %v", len(sockets), limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// states counts the TCP sockets of a process by the state code of
// /proc/net/tcp, in which sockets that were never bound don't appear.
func states(t *testing.T, pid int) map[string]int {
	t.Helper()
	sockets, err := Sockets(pid)
	if err != nil {
		t.Fatal(err)
	}
	own := make(map[string]bool)
	for _, inode := range sockets {
		own[strconv.FormatUint(inode, 10)] = true
	}
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, line := range strings.Split(string(text), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 9 && own[f[9]] {
			count[f[3]]++
			// While others come and go, the file can have a socket twice.
			own[f[9]] = false
		}
	}
	return count
}

// State codes of /proc/net/tcp.
const (
	established = "01"
	closeWait   = "08"
	listening   = "0A"
)

func TestLeakersLeak(t *testing.T) {
	for _, name := range []string{"leak_never", "leak_refused", "leak_closewait"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Start(t, Build(t, name), "--interval-ms", "20")
			p.Ready()
			before := within(t, time.Second, p.PID, func(n int) bool { return n > 0 })
			within(t, 20*time.Second, p.PID, func(n int) bool { return n >= before+20 })
		})
	}
}

func TestLeakBeforeReadyThenOnCommand(t *testing.T) {
	for name, inCloseWait := range map[string]int{"leak_never": 0, "leak_refused": 0, "leak_closewait": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Start(t, Build(t, name), "--pre", "300", "--then-on-command")
			p.Ready()
			if got := states(t, p.PID)[closeWait]; got != inCloseWait {
				t.Errorf("%d sockets in CLOSE-WAIT, want %d", got, inCloseWait)
			}
			sockets, err := Sockets(p.PID)
			if err != nil {
				t.Fatal(err)
			}
			// Beside the leaked ones: two listeners or a listener and a bound
			// socket, and at most two healthy connections with both ends.
			if n := len(sockets); n < 301 || n > 306 {
				t.Errorf("%d sockets open, want 301 to 306", n)
			}
			fd := p.DoInt("one")
			if sockets, err = Sockets(p.PID); err != nil {
				t.Fatal(err)
			}
			if sockets[fd] == 0 {
				t.Errorf("descriptor %d, leaked on command, is no open socket", fd)
			}
		})
	}
}

func TestHealthyProgramsHoldStill(t *testing.T) {
	for _, test := range []struct {
		name     string
		args     []string
		min, max int // open sockets
		states   map[string]int
	}{
		{"ok_keepalive", nil, 8, 10, nil},
		{"ok_pool", []string{"100"}, 33, 33, map[string]int{established: 32, listening: 1}},
		{"ok_longpoll", nil, 6, 6, map[string]int{established: 6}},
		{"ok_listener", nil, 5, 5, map[string]int{listening: 2}},
		{"ok_churn", []string{"200"}, 8, 10, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := Start(t, Build(t, test.name), test.args...)
			p.Ready()
			hold(t, p.PID, test.min, test.max)
			if test.states != nil {
				if got := states(t, p.PID); !maps.Equal(got, test.states) {
					t.Errorf("TCP states %v, want %v", got, test.states)
				}
			}
		})
	}
}

func TestScriptsHoldStill(t *testing.T) {
	for _, test := range []struct {
		interpreter, script string
		min, max            int
	}{
		{"python3", "ok_asyncio.py", 23, 25}, // the loop has a socketpair of its own
		{"node", "ok_agent.js", 17, 17},
	} {
		t.Run(test.script, func(t *testing.T) {
			t.Parallel()
			interpreter, script := Script(t, test.interpreter, test.script)
			p := Start(t, interpreter, script)
			p.Ready()
			hold(t, p.PID, test.min, test.max)
		})
	}
}

// hold checks the number of open sockets of a process for half a second.
func hold(t *testing.T, pid, least, most int) {
	t.Helper()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		sockets, err := Sockets(pid)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(sockets); n < least || n > most {
			t.Fatalf("%d sockets open, want %d to %d", n, least, most)
		}
	}
}

func TestStopEndsChildren(t *testing.T) {
	p := Start(t, Build(t, "fdops"))
	p.Ready()
	child := p.Do("fork")[1]
	p.Stop()
	// The orphan is reaped by init or a subreaper, which takes a moment.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, err := os.ReadFile("/proc/" + child + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("child %s outlived its group: %s", child, status)
		}
	}
}

func TestLeakLine(t *testing.T) {
	for _, name := range []string{"leak_never", "leak_refused", "leak_closewait"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".c"))
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Split(string(text), "\n")[LeakLine(t, name)-1]
		if !strings.Contains(line, "= socket(") {
			t.Errorf("%s: the marked line makes no socket: %q", name, line)
		}
	}
}
