package workload

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// script runs commands on fdops and checks each answer. "%" in an answer
// stands for any word: a port, a pid.
func script(t *testing.T, p *Proc, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		command, want, found := strings.Cut(strings.TrimSpace(line), " -> ")
		if !found {
			continue
		}
		got := strings.Fields(p.Send(command))
		for i, word := range strings.Fields(want) {
			if word == "%" && i < len(got) {
				got[i] = "%"
			}
		}
		if answer := strings.Join(got, " "); answer != want {
			t.Fatalf("%s: answered %q, want %q", command, answer, want)
		}
	}
}

// fds returns the descriptors of a process that are sockets, in order.
func fds(t *testing.T, pid int) []int {
	t.Helper()
	sockets, err := Sockets(pid)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(sockets))
}

func TestFDOps(t *testing.T) {
	program := Build(t, "fdops")
	for _, test := range []struct {
		name, script string
		open         []int
	}{
		{"families", `
			socket tcp -> ok 3
			socket udp cloexec -> ok 4
			socket unix -> ok 5
			socket netlink -> ok 6
			socket nonsense -> err 22
			socketpair -> ok 7 8
			close 5 -> ok 0
			close 5 -> err 9`, []int{3, 4, 6, 7, 8}},
		{"copies", `
			socket tcp -> ok 3
			dup 3 -> ok 4
			dup2 3 10 -> ok 10
			dup2 3 3 -> ok 3
			dup3 3 3 -> err 22
			dup3 3 11 cloexec -> ok 11
			fcntl_dupfd 3 20 cloexec -> ok 20
			fcntl_dupfd 99 3 -> err 9
			close_range 4 10 -> ok 0
			close_range 9 4 -> err 22`, []int{3, 11, 20}},
		{"exec keeps what isn't close-on-exec", `
			socket tcp cloexec -> ok 3
			socket tcp -> ok 4
			socket tcp -> ok 5
			socket tcp -> ok 6
			setcloexec 5 -> ok 0
			close_range 6 6 cloexec -> ok 0
			exec self -> ok exec
			socket tcp -> ok 3`, []int{3, 4}},
		{"exec by another thread", `
			socket tcp cloexec -> ok 3
			socket tcp -> ok 4
			thread exec self -> ok exec`, []int{4}},
		{"threads share, and may part", `
			thread socket tcp -> ok 3
			thread_unshare socket tcp -> ok 4
			thread_unshare close 3 -> ok 0
			worker -> ok 0 %
			in 0 close_range 3 3 unshare -> ok 0
			end 0 -> ok 0`, []int{3}},
		{"descriptors travel", `
			socketpair -> ok 3 4
			socket tcp -> ok 5
			fork -> ok 0 %
			scm_send 3 5 -> ok 1
			close 5 -> ok 0
			child 0 close 5 -> ok 0
			child 0 scm_recv 4 -> ok 5
			scm_recv 3 -> err 11
			child 0 exit -> ok
			reap 0 -> ok 0
			child 0 close 3 -> err 3`, []int{3, 4}},
		{"processes that share a table", `
			fork shared -> ok 0 %
			child 0 socket tcp -> ok 3
			socket tcp -> ok 4
			child 0 close 4 -> ok 0`, []int{3}},
		{"spawning changes nothing", `
			socket tcp -> ok 3
			vfork_exec_true -> ok 0
			posix_spawn -> ok 0`, []int{3}},
		{"a failed connect keeps the descriptor", `
			socket tcp -> ok 3
			connect 3 refused -> err 111
			socket tcp -> ok 4
			connect 4 refused nonblock -> err 115
			socket unix -> ok 5
			connect 5 refused -> err 111`, []int{3, 4, 5}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := Start(t, program)
			p.Ready()
			script(t, p, test.script)
			if got := fds(t, p.PID); !slices.Equal(got, test.open) {
				t.Errorf("sockets open at %v, want %v", got, test.open)
			}
		})
	}
}

func TestFDOpsConnections(t *testing.T) {
	program := Build(t, "fdops")
	for _, family := range []string{"tcp", "tcp6", "unix"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			p := Start(t, program)
			p.Ready()
			p.Do("socket " + family)
			address := p.Do("bind 3")[0]
			begun := "err 115" // EINPROGRESS: TCP shakes hands later
			if family == "unix" {
				begun = "ok 0"
			}
			script(t, p, strings.NewReplacer("FAMILY", family, "ADDRESS", address, "BEGUN", begun).Replace(`
				listen 3 8 -> ok 0
				socket FAMILY -> ok 4
				worker -> ok 0 %
				start 0 accept 3 -> ok %
				connect 4 ADDRESS -> ok 0
				wait 0 -> ok 5
				socket FAMILY -> ok 6
				connect 6 ADDRESS nonblock -> BEGUN
				accept4 3 cloexec nonblock -> ok 7
				shutdown 7 -> ok 0
				exec self -> ok exec
				write 4 -> ok 1`))
			if got, want := fds(t, p.PID), []int{3, 4, 5, 6}; !slices.Equal(got, want) {
				t.Errorf("sockets open at %v, want %v", got, want)
			}
		})
	}
}

func TestFDOpsSharesSockets(t *testing.T) {
	p := Start(t, Build(t, "fdops"))
	p.Ready()
	p.Do("socket tcp")
	child, err := strconv.Atoi(p.Do("fork")[1])
	if err != nil {
		t.Fatal(err)
	}
	p.Do("dup 3")
	p.Do("child 0 dup2 3 9")
	mine, err := Sockets(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	its, err := Sockets(child)
	if err != nil {
		t.Fatal(err)
	}
	inode := mine[3]
	if want := map[int]uint64{3: inode, 4: inode}; inode == 0 || !maps.Equal(mine, want) {
		t.Errorf("parent has %v, want %v", mine, want)
	}
	if want := map[int]uint64{3: inode, 9: inode}; !maps.Equal(its, want) {
		t.Errorf("child has %v, want %v", its, want)
	}
}

func TestThreadSockets(t *testing.T) {
	p := Start(t, Build(t, "fdops"))
	p.Ready()
	p.Do("socket tcp")
	tid, err := strconv.Atoi(p.Do("worker")[1])
	if err != nil {
		t.Fatal(err)
	}
	p.Do("in 0 unshare")
	p.Do("in 0 socket udp")
	p.Do("close 3")
	own, err := ThreadSockets(p.PID, tid)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(own)), []int{3, 4}; !slices.Equal(got, want) {
		t.Errorf("the thread has sockets at %v, want %v", got, want)
	}
	if got := fds(t, p.PID); len(got) != 0 {
		t.Errorf("the process has sockets at %v, want none", got)
	}
}

func TestFDChurnStandsStill(t *testing.T) {
	program := Build(t, "fdchurn")
	for _, threads := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d threads", threads), func(t *testing.T) {
			p := Start(t, program, "1", "20000", "3", strconv.Itoa(threads))
			p.Expect("done")
			first := group(t, p.PID)
			sockets := 0
			for _, open := range first {
				sockets += len(open)
				if len(open) > 300 {
					t.Errorf("%d sockets in one table, want 300 at most", len(open))
				}
			}
			if len(first) < 4 || sockets < 100 {
				t.Errorf("%d tables with %d sockets, want 4 and 100 at least", len(first), sockets)
			}
			if again := group(t, p.PID); !maps.EqualFunc(first, again, maps.Equal) {
				t.Errorf("descriptors changed after the end: %d tables, then %d", len(first), len(again))
			}
		})
	}
}

// group returns the sockets of each thread's table in a process group, by pid
// and thread id.
func group(t *testing.T, pgid int) map[string]map[int]uint64 {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	tables := make(map[string]map[int]uint64)
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // a stranger that ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) < 3 || f[2] != strconv.Itoa(pgid) {
			continue
		}
		tasks, err := filepath.Glob(filepath.Dir(stat) + "/task/*/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if tables[task], err = socketsIn(task); err != nil {
				t.Fatal(err)
			}
		}
	}
	return tables
}
