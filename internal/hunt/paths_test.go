package hunt

import (
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/lifecycle"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/workload"
)

// path is a script of commands for fdops, one a line with its answer, see
// testdata/fdops.c of package workload. In an answer "%" stands for any word
// and "=NAME" gives one a name, which "$NAME" in a later command stands for.
// What comes before the line "attach" happened before tracing began.
type path struct{ name, script string }

// closeRangeCloexec is the path with the flag CLOSE_RANGE_CLOEXEC, which isn't as
// old as the call.
const closeRangeCloexec = "close_range that marks"

var paths = []path{
	{"socket of every family", `
		attach
		socket tcp -> ok 3
		socket tcp6 -> ok 4
		socket udp cloexec -> ok 5
		socket udp6 -> ok 6
		socket unix nonblock -> ok 7
		socket netlink -> ok 8
		socket nonsense -> err 22
		socketpair -> ok 9 10
		socketpair cloexec -> ok 11 12`},
	{"what was there before", `
		socket tcp -> ok 3
		dup 3 -> ok 4
		socketpair -> ok 5 6
		fork -> ok 0 %
		child 0 socket udp -> ok 7
		attach
		close 3 -> ok 0
		dup 4 -> ok 3
		child 0 close 5 -> ok 0
		child 0 dup2 7 3 -> ok 3
		child 0 exit -> ok
		reap 0 -> ok 0
		exec self -> ok exec
		socket tcp -> ok 7`},
	{"close", `
		attach
		socket tcp -> ok 3
		close 3 -> ok 0
		close 3 -> err 9
		socket udp -> ok 3
		dup 3 -> ok 4
		close 3 -> ok 0
		close 400 -> err 9
		close 4 -> ok 0`},
	{"close_range", `
		attach
		socket tcp -> ok 3
		dup 3 -> ok 4
		dup 3 -> ok 5
		dup2 3 40 -> ok 40
		close_range 4 4 -> ok 0
		close_range 5 4 -> err 22
		close_range 5 39 unshare -> ok 0
		close_range 40 400 -> ok 0
		socket udp -> ok 4
		exec self -> ok exec`},
	{closeRangeCloexec, `
		attach
		socket tcp -> ok 3
		dup 3 -> ok 4
		close_range 3 4 cloexec -> ok 0
		socket udp -> ok 5
		exec self -> ok exec`},
	{"dup", `
		attach
		socket tcp -> ok 3
		dup 3 -> ok 4
		dup 99 -> err 9
		dup2 3 10 -> ok 10
		dup2 3 3 -> ok 3
		dup2 99 3 -> err 9
		socket udp -> ok 5
		dup2 5 10 -> ok 10
		dup2 5 4 -> ok 4
		dup2 0 4 -> ok 4
		dup2 0 6 -> ok 6
		dup2 3 6 -> ok 6
		dup3 3 3 -> err 22
		dup3 3 11 cloexec -> ok 11
		dup3 5 11 -> ok 11
		dup3 0 11 -> ok 11
		fcntl_dupfd 3 20 -> ok 20
		fcntl_dupfd 5 20 cloexec -> ok 21
		fcntl_dupfd 99 3 -> err 9
		fcntl_dupfd 0 300 -> ok 300
		setcloexec 20 -> ok 0
		close 3 -> ok 0
		close 6 -> ok 0`},
	{"connect", `
		attach
		socket tcp -> ok 3
		bind 3 -> ok =PORT
		listen 3 8 -> ok 0
		socket tcp -> ok 4
		connect 4 $PORT -> ok 0
		accept 3 -> ok 5
		socket tcp6 -> ok 6
		connect 6 $PORT nonblock -> err 115
		accept4 3 cloexec nonblock -> ok 7
		socket tcp -> ok 8
		connect 8 refused -> err 111
		connect 8 $PORT -> ok 0
		connect 8 unspec -> ok 0
		socket udp -> ok 9
		connect 9 $PORT -> ok 0
		shutdown 5 -> ok 0
		close 4 -> ok 0
		close 5 -> ok 0
		close 3 -> ok 0
		close 6 -> ok 0`},
	{"unix connect", `
		attach
		socket unix -> ok 3
		bind 3 -> ok =NAME
		listen 3 8 -> ok 0
		socket unix -> ok 4
		connect 4 $NAME -> ok 0
		accept4 3 cloexec -> ok 5
		socket unix -> ok 6
		connect 6 refused -> err 111
		close 4 -> ok 0
		close 5 -> ok 0`},
	{"accept blocked since before", `
		socket tcp -> ok 3
		bind 3 -> ok =PORT
		listen 3 8 -> ok 0
		worker -> ok 0 %
		worker -> ok 1 %
		start 0 accept 3 -> ok %
		start 1 accept4 3 cloexec -> ok %
		attach
		socket tcp -> ok 6
		connect 6 $PORT -> ok 0
		socket tcp -> ok 7
		connect 7 $PORT -> ok 0
		wait 0 -> ok %
		wait 1 -> ok %
		exec self -> ok exec`},
	{"fork", `
		attach
		socket tcp -> ok 3
		socketpair -> ok 4 5
		fork -> ok 0 %
		child 0 close 4 -> ok 0
		close 5 -> ok 0
		child 0 fork -> ok 0 %
		child 0 child 0 dup2 3 5 -> ok 5
		child 0 socket udp -> ok 4
		child 0 child 0 exec self -> ok exec
		child 0 exit -> ok
		reap 0 -> ok 0
		close 3 -> ok 0`},
	{"fork that shares the table", `
		attach
		fork shared -> ok 0 %
		child 0 socket tcp -> ok 3
		socket udp -> ok 4
		close 3 -> ok 0
		child 0 dup2 4 9 -> ok 9
		child 0 exit -> ok
		reap 0 -> ok 0
		socket tcp -> ok 3`},
	{"a shared table parted by exec", `
		attach
		socket tcp cloexec -> ok 3
		socket tcp -> ok 4
		fork shared -> ok 0 %
		child 0 exec self -> ok exec
		child 0 socket udp -> ok 3
		close 4 -> ok 0
		child 0 close 3 -> ok 0`},
	{"a shared table parted by unshare", `
		attach
		socket tcp -> ok 3
		fork shared -> ok 0 %
		child 0 unshare -> ok 0
		child 0 socket udp -> ok 4
		close 3 -> ok 0
		child 0 exit -> ok
		reap 0 -> ok 0`},
	{"a shared table parted by close_range", `
		attach
		socket tcp -> ok 3
		socket tcp -> ok 4
		fork shared -> ok 0 %
		child 0 close_range 4 400 unshare -> ok 0
		socket udp -> ok 5
		close 3 -> ok 0`},
	{"vfork and posix_spawn", `
		attach
		socket tcp -> ok 3
		socket tcp cloexec -> ok 4
		vfork_exec_true -> ok 0
		posix_spawn -> ok 0
		close 3 -> ok 0
		vfork_exec_true -> ok 0`},
	{"exec", `
		attach
		socket tcp cloexec -> ok 3
		socket tcp -> ok 4
		socketpair cloexec -> ok 5 6
		socket udp -> ok 7
		setcloexec 7 -> ok 0
		dup 3 -> ok 8
		dup3 4 100 cloexec -> ok 100
		fcntl_dupfd 3 200 cloexec -> ok 200
		exec /nowhere -> err 2
		exec self -> ok exec
		socket tcp -> ok 3
		fork -> ok 0 %
		child 0 exec /bin/true -> ok
		reap 0 -> ok 0`},
	{"exec by a thread", `
		attach
		socket tcp cloexec -> ok 3
		socket tcp -> ok 4
		worker -> ok 0 %
		thread exec self -> ok exec
		socket udp -> ok 3`},
	{"exec by a thread with a table of its own", `
		attach
		socket tcp -> ok 3
		worker -> ok 0 %
		worker -> ok 1 %
		in 0 unshare -> ok 0
		in 0 socket udp -> ok 4
		in 1 unshare -> ok 0
		in 1 socket udp cloexec -> ok 4
		socket tcp -> ok 4
		in 1 exec self -> ok exec`},
	{"threads", `
		attach
		worker -> ok 0 %
		in 0 socket tcp -> ok 3
		dup 3 -> ok 4
		in 0 close 3 -> ok 0
		thread dup2 4 3 -> ok 3
		in 0 socketpair -> ok 5 6
		thread close_range 5 6 -> ok 0
		end 0 -> ok 0`},
	{"threads with tables of their own", `
		attach
		socket tcp -> ok 3
		thread_unshare socket tcp -> ok 4
		thread_unshare close 3 -> ok 0
		worker -> ok 0 %
		in 0 unshare -> ok 0
		in 0 socket udp -> ok 4
		in 0 close 3 -> ok 0
		socket unix -> ok 4
		in 0 fork -> ok 0 %
		in 0 child 0 dup2 4 3 -> ok 3
		worker -> ok 1 %
		in 1 close_range 3 3 unshare -> ok 0
		end 1 -> ok 1
		in 0 child 0 exit -> ok
		reap 0 -> ok 0
		end 0 -> ok 0`},
	{"unshare by the main thread", `
		attach
		unshare -> ok 0
		socket tcp -> ok 3
		unshare -> ok 0
		worker -> ok 0 %
		unshare -> ok 0
		socket udp -> ok 4
		in 0 close 3 -> ok 0
		in 0 socket unix -> ok 3
		fork -> ok 0 %
		end 0 -> ok 0
		child 0 close 3 -> ok 0
		close_range 3 4 -> ok 0`},
	{"exit", `
		attach
		socket tcp -> ok 3
		fork -> ok 0 %
		child 0 dup 3 -> ok 4
		child 0 socket tcp -> ok 5
		child 0 worker -> ok 0 %
		child 0 in 0 unshare -> ok 0
		child 0 in 0 socket tcp -> ok 6
		child 0 bind 5 -> ok %
		child 0 listen 5 1 -> ok 0
		child 0 worker -> ok 1 %
		child 0 start 1 accept 5 -> ok %
		child 0 exit -> ok
		reap 0 -> ok 0
		close 3 -> ok 0`},
}

// TestPaths drives every way to make, copy and close a descriptor with real
// system calls and compares the table, which knows nothing but the events,
// with /proc after each.
func TestPaths(t *testing.T) {
	needs.Root(t)
	program := workload.Build(t, "fdops")
	shared := open(t, 1<<20, false) // on an emulated CPU a probe takes seconds to load
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			if path.name == closeRangeCloexec {
				none := uint(math.MaxInt32) // no descriptor has that number
				needs.Kernel(t, "CLOSE_RANGE_CLOEXEC", unix.CloseRange(none, none, unix.CLOSE_RANGE_CLOEXEC), 5, 11)
			}
			var p *workload.Proc
			t.Cleanup(func() { awaitGone(t, p.PID) })
			p = start(t, program)
			p.Ready()
			run(t, shared, p, path.script)
		})
	}
}

// run carries out a script and compares after each of its steps. Where something was
// there before the attach, the hooks were not: it takes a probe of its own.
func run(t *testing.T, shared *probe.Probe, p *workload.Proc, script string) {
	t.Helper()
	before, after, _ := strings.Cut(script, "attach\n")
	names := map[string]string{}
	for step := range steps(before) {
		obey(t, p, step, names)
	}
	awaitBlocked(t, p.PID)
	if strings.TrimSpace(before) != "" {
		shared = open(t, 1<<20, false)
	}
	k := engage(t, shared, p.PID)
	k.exact("the first snapshot")
	k.steps(p, after, names)
	if got := k.snapshot(); got != (lifecycle.Repair{}) {
		t.Errorf("at the end a snapshot had to repair %+v", got)
	}
	k.lossless()
}

// awaitBlocked waits until every thread of a process is in a call that blocks:
// a worker is told to begin, and then has to be scheduled.
func awaitBlocked(t *testing.T, pid int) {
	t.Helper()
	asleep := func(tid int) bool {
		f := stat(t, tid)
		return f != nil && f[0] == "S"
	}
	for deadline := time.Now().Add(settle); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if tids := threads(t, pid); !slices.ContainsFunc(tids, func(tid int) bool { return !asleep(tid) }) {
			return
		}
	}
	t.Fatalf("process %d does not come to rest", pid)
}

// awaitGone waits until every process of a group has ended.
func awaitGone(t *testing.T, pgid int) {
	t.Helper()
	for deadline := time.Now().Add(settle); len(group(t, pgid)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes %v do not end", group(t, pgid))
		}
	}
}

// steps yields the lines of a script.
func steps(script string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(script) {
			if line = strings.TrimSpace(line); line != "" && !yield(line) {
				return
			}
		}
	}
}

// steps carries out the lines of a script and compares after each.
func (k *traced) steps(p *workload.Proc, script string, names map[string]string) {
	k.t.Helper()
	for step := range steps(script) {
		obey(k.t, p, step, names)
		k.exact(step)
	}
}

// obey sends a command and checks the answer.
func obey(t *testing.T, p *workload.Proc, step string, names map[string]string) {
	t.Helper()
	command, want, _ := strings.Cut(step, " -> ")
	for name, value := range names {
		command = strings.ReplaceAll(command, "$"+name, value)
	}
	answer := p.Send(command)
	got, expected := strings.Fields(answer), strings.Fields(want)
	if len(got) != len(expected) {
		t.Fatalf("%s: answered %q, want %q", command, answer, want)
	}
	for i, word := range expected {
		if name, named := strings.CutPrefix(word, "="); named {
			names[name] = got[i]
		} else if word != "%" && word != got[i] {
			t.Fatalf("%s: answered %q, want %q", command, answer, want)
		}
	}
}
