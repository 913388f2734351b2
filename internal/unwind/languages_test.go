package unwind

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
)

// culprit is where a program makes its sockets.
type culprit struct {
	function string
	file     string // base name; empty: not known
	line     int
}

// example is a program, how it is made and started, and what must come out.
type example struct {
	name    string
	program func(t *testing.T, dir string) program
	want    culprit
	// path is functions that must be on the stack, in that order from the
	// innermost.
	path    []string
	partial string // why its stacks are not complete; empty if they are
}

func examples(t *testing.T) []example {
	c := func(from string, arg string, tool string, flags ...string) func(*testing.T, string) program {
		return func(t *testing.T, dir string) program {
			build(t, tool, append(flags, "-O2", "-fomit-frame-pointer", "-pthread", "-o", dir+"/native", source(t, from))...)
			return started(t, dir+"/native", arg)
		}
	}
	script := func(interpreter, name string) func(*testing.T, string) program {
		return func(t *testing.T, _ string) program { return started(t, interpreter, source(t, name)) }
	}
	make := culprit{"make_socket", "native.c", markedLine(t, "native.c", "SOCKET")}
	odd := culprit{"make_socket", "odd.c", markedLine(t, "odd.c", "SOCKET")}
	named := culprit{function: "make_socket"}
	return []example{
		{name: "C", program: c("native.c", "0", "gcc", "-g"), want: make, path: []string{"socket", "make_socket", "main", "_start"}},
		{name: "C without debug information", program: c("native.c", "0", "gcc"), want: named},
		{name: "C stripped", program: c("native.c", "0", "gcc", "-s")},
		{name: "C static", program: c("native.c", "0", "gcc", "-g", "-static"), want: make, path: []string{"make_socket", "main", "_start"}},
		{name: "C by clang", program: c("native.c", "0", "clang-19", "-g"), want: make},
		{name: "C with only .debug_frame", program: c("native.c", "0", "gcc", "-g", "-fno-asynchronous-unwind-tables"), want: make},
		{name: "C musl", program: c("native.c", "0", "musl-gcc", "-g"), want: make, partial: reasonNoTable + "; " + reasonGuessed},
		{name: "C musl static", program: c("native.c", "0", "musl-gcc", "-g", "-static"), want: make, partial: reasonGuessed,
			path: []string{"socket", "make_socket", "main", "_start"}},
		{name: "C 400 deep", program: c("native.c", "400", "gcc", "-g"), want: make},
		{name: "C 900 deep", program: c("native.c", "900", "gcc", "-g"), want: make, partial: reasonShort},
		{name: "C large frames", program: c("odd.c", "large", "gcc", "-g"), want: odd, partial: reasonShort},
		{name: "C signal handler", program: c("odd.c", "signal", "gcc", "-g"), want: odd,
			path: []string{"make_socket", "on_signal", "interrupted", "main", "_start"}},
		{name: "C signal handler musl", program: c("odd.c", "signal", "musl-gcc", "-g", "-static"), want: odd,
			path: []string{"make_socket", "on_signal", "__restore_rt", "raise", "interrupted", "main", "_start"}, partial: reasonGuessed},
		{name: "C signal stack", program: c("odd.c", "altstack", "gcc", "-g"), want: odd,
			path: []string{"make_socket", "on_signal"}, partial: reasonShort},
		{name: "C thread", program: c("odd.c", "thread", "gcc", "-g"), want: odd, path: []string{"make_socket", "in_thread"}},
		{name: "C thread musl", program: c("odd.c", "thread", "musl-gcc", "-g", "-static"), want: odd,
			path: []string{"make_socket", "in_thread"}, partial: reasonNoTable + "; " + reasonGuessed},
		{name: "C++", program: c("native.cc", "", "g++", "-g"),
			want: culprit{"net::Pool::open", "native.cc", markedLine(t, "native.cc", "SOCKET")}},
		{name: "Rust", program: func(t *testing.T, dir string) program {
			build(t, "rustc", "-O", "-g", "-o", dir+"/native", source(t, "native.rs"))
			return started(t, dir+"/native")
		}, want: culprit{"native::Pool::open", "native.rs", markedLine(t, "native.rs", "SOCKET")}},
		{name: "Go", program: func(t *testing.T, dir string) program {
			build(t, "go", "build", "-ldflags", "-s -w", "-o", dir+"/gosock", "../deepstack/testdata/gosock")
			return started(t, dir+"/gosock")
		}, want: culprit{"main.pool.open", "main.go", markedLine(t, "gosock/main.go", "SOCKET")}},
		{name: "Python", program: script("/usr/bin/python3", "sock.py"), partial: fmt.Sprintf(reasonLanguage, "Python"),
			path: []string{"socket", "_PyEval_EvalFrameDefault", "Py_BytesMain", "_start"}},
		{name: "Node", program: script("node", "sock.js"), partial: reasonGuessed, path: []string{"Builtins_JSEntry", "node::Start", "_start"}},
		{name: "Java", program: func(t *testing.T, dir string) program {
			build(t, "javac", "-d", dir, source(t, "Sock.java"))
			return started(t, "java", "-cp", dir, "Sock")
		}, partial: reasonGuessed, path: []string{"socket", "JavaMain"}},
	}
}

// Programs in every language, attached to while they run: the line that makes the
// socket is on the stack, and the walk comes to the start of the thread, or says
// why not. The same stack is copied once, or the walk was not known again.
func TestLanguages(t *testing.T) {
	needs.Root(t)
	needs.Tool(t, "gcc")
	type running struct {
		example
		program
		stacks []uint64
	}
	byPID := map[uint32]*running{}
	var scope probe.Scope
	var all []*running
	for _, e := range examples(t) {
		r := &running{example: e}
		t.Run("start "+e.name, func(sub *testing.T) { r.program = e.program(sub, t.TempDir()) })
		if r.pid == 0 {
			continue // skipped, and said why
		}
		cmd := r.cmd
		t.Cleanup(func() { end(cmd) })
		byPID[r.pid] = r
		scope.PIDs = append(scope.PIDs, r.pid)
		all = append(all, r)
	}
	tr := follow(t, scope)
	const enough = 9
	sockets := 0
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		tr.read(time.Now().Add(50*time.Millisecond), func(s socket) {
			sockets++
			byPID[s.pid].stacks = append(byPID[s.pid].stacks, s.stack)
		})
		if !slices.ContainsFunc(all, func(r *running) bool { return len(r.stacks) < enough }) {
			break
		}
	}
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) { check(t, tr, &r.example, r.exe, r.stacks) })
	}
	t.Logf("%d sockets, %d copies", sockets, tr.walked)
	if len(tr.lost) != 0 {
		t.Errorf("lost: %v", tr.lost)
	}
}

func check(t *testing.T, tr *tracer, e *example, exe string, ids []uint64) {
	if len(ids) == 0 {
		t.Fatal("no sockets")
	}
	got := map[culprit]bool{}
	shown := map[uint64]bool{}
	onPath, asSaid := len(e.path) == 0, false
	for _, id := range ids {
		if shown[id] {
			continue
		}
		shown[id] = true
		o := tr.stacks.Resolve(id)
		if testing.Verbose() {
			dump(t, o)
		}
		if o.Quality != stack.Complete && o.Reason != e.partial {
			t.Errorf("quality %s: %s", o.Quality, o.Reason)
		}
		asSaid = asSaid || o.Reason == e.partial
		got[found(o, exe)] = true
		onPath = onPath || contains(o.Frames, e.path)
	}
	if e.want != (culprit{}) && !got[e.want] {
		t.Errorf("no stack from %+v; got %+v", e.want, got)
	}
	if !onPath {
		t.Errorf("no stack with %v", e.path)
	}
	if !asSaid {
		t.Errorf("no stack with the reason %q", e.partial)
	}
}

// contains says whether the functions are on a stack in this order.
func contains(frames []stack.Frame, functions []string) bool {
	for _, f := range frames {
		if len(functions) > 0 && f.Function == functions[0] {
			functions = functions[1:]
		}
	}
	return len(functions) == 0
}

// found is the culprit of a stack.
func found(o stack.Origin, exe string) culprit {
	i := stack.Culprit(o.Frames, exe)
	if i < 0 {
		return culprit{}
	}
	f := o.Frames[i]
	if f.File == "" {
		return culprit{function: f.Function}
	}
	return culprit{f.Function, filepath.Base(f.File), f.Line}
}
