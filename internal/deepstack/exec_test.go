package deepstack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
)

// A process of Ruby that execs Ruby, as bundle exec does, while the profiler is busy with
// another one's files: its stacks have lines afterwards, though libruby lies elsewhere.
func TestExecOfTheSame(t *testing.T) {
	needs.Root(t)
	ruby := started(t, "ruby", source(t, "sock.rb"))
	defer end(ruby.cmd)
	busy := exec.Command("/bin/sh", "-c", `read go; exec "$0" -e 'setTimeout(() => {}, 60000)'`, needs.Tool(t, "node"))
	in, err := busy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(busy)
	tier := open(t, Options{PIDs: []uint32{ruby.pid, uint32(busy.Process.Pid)}})
	want := culprit{"open", "sock.rb", markedLine(t, "sock.rb", "SOCKET"), stack.Ruby}
	awaitLines(t, tier, &ruby, want, func() bool { return true })
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", busy.Process.Pid)); err != nil || time.Now().After(end) {
			t.Fatalf("node has not begun: %v", err)
		} else if bytes.HasPrefix(comm, []byte("node")) {
			break
		}
	}
	if err := ruby.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	awaitLines(t, tier, &ruby, want, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", ruby.pid))
		return err == nil && bytes.Contains(text, []byte("\x00again\x00"))
	})
}

// A process that has the number of one that ended, when no stack came in between: it is
// looked at as any other.
func TestReusedNumber(t *testing.T) {
	needs.Root(t)
	const last = "/proc/sys/kernel/ns_last_pid"
	if _, err := os.Stat(last); err != nil {
		t.Skipf("needs CONFIG_CHECKPOINT_RESTORE: %v", err)
	}
	tier := open(t, Options{})
	want := culprit{"Pool.open", "sock.py", markedLine(t, "sock.py", "SOCKET"), stack.Python}
	lines := func(python program) {
		t.Helper()
		awaitLines(t, tier, &python, want, func() bool { return true })
	}
	first := started(t, "/usr/bin/python3", source(t, "sock.py"))
	defer end(first.cmd)
	lines(first)
	end(first.cmd)
	time.Sleep(time.Second) // until it was looked at, and found to have ended
	for range 10 {
		if err := os.WriteFile(last, []byte(strconv.Itoa(int(first.pid)-1)), 0); err != nil {
			t.Fatal(err)
		}
		second := started(t, "/usr/bin/python3", source(t, "sock.py"))
		if second.pid == first.pid {
			defer end(second.cmd)
			lines(second)
			return
		}
		end(second.cmd)
	}
	t.Skip("others took the number 10 times")
}

// awaitLines waits until the stacks of a process that are taken while a condition holds
// are of a line: five of them, one after the other.
func awaitLines(t *testing.T, tier *Tier, p *program, want culprit, when func() bool) {
	t.Helper()
	const enough = 5
	var got []culprit
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		var ids []uint64
		collect(t, tier, 2*time.Second, func(b Birth) bool {
			if b.PID == p.pid && when() {
				ids = append(ids, b.Stack)
			}
			return len(ids) >= enough
		})
		time.Sleep(10 * turn)
		got = nil
		for _, id := range ids {
			got = append(got, found(tier.Resolve(id).Frames, p.exe))
		}
		if len(got) >= enough && !slices.ContainsFunc(got, func(c culprit) bool { return c != want }) {
			return
		}
	}
	t.Fatalf("the last are %+v, want %+v", got, want)
}
