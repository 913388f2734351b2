package unwind

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/langtest"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
)

var write = flag.Bool("write", false, "write the table of languages into docs/stacks.md")

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
	path    []string // functions on a stack from there, see langtest.OnPath
	partial string   // why its stacks are not complete; empty if they are
}

// running is an example that runs.
type running struct {
	example
	program
	stacks []uint64
	framed []uint64 // those by frame pointers of the same sockets
	start  uint64   // of the process, see event.ProcessKey
}

// line is what the table says that the first frame of its own has.
func (r *running) line() string {
	switch {
	case r.code != nil:
		return "file and offset"
	case r.want.file != "":
		return "function, file and line"
	case r.want.function != "":
		return "function"
	}
	return "native frames"
}

// gives is what the table says that its stacks have.
func (r *running) gives() string {
	if r.partial == "" {
		return "complete; " + r.line()
	}
	has := r.line()
	if langtest.ToStart(r.path) {
		has += ", to the start"
	}
	return fmt.Sprintf("partial; %s; %s", has, r.partial)
}

// framesGive is what the table says of its stacks by frame pointers, as they came on
// amd64 with Debian's programs. Those by unwind tables tell where each socket was made.
func (r *running) framesGive(tr *tracer) string {
	var gives []string
	for i, id := range r.framed {
		o := tr.fp.Resolve(event.ProcessKey{PID: r.pid, Start: r.start}, id)
		frames := r.code.Name(o.Frames, r.exe)
		has := string(o.Quality) + "; "
		switch made := found(frames, r.exe); {
		case len(frames) == 0:
			has += "no frames"
		case r.want == culprit{}:
			has += "native frames"
		case stack.Culprit(frames, r.exe) < 0:
			has += "no frame of the program"
		case made != found(r.code.Name(tr.stacks.Resolve(r.stacks[i]).Frames, r.exe), r.exe):
			has += "another line than the one that makes the socket"
		default:
			has += r.line()
		}
		if o.Quality != stack.Complete && len(frames) > 0 && langtest.ToStart([]string{frames[len(frames)-1].Function}) {
			has += ", to the start"
		}
		gives = append(gives, has)
	}
	slices.Sort(gives)
	return strings.Join(slices.Compact(gives), ", or ")
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
	start := []string{"socket", "make_socket", "deep", "main", langtest.Process}
	thread := []string{"socket", "make_socket", "in_thread", langtest.Thread}
	return []example{
		{name: "C", program: c("native.c", "0", "gcc", "-g"), want: make, path: start},
		{name: "C without debug information", program: c("native.c", "0", "gcc"), want: named, path: start},
		{name: "C stripped", program: stripped("native.c", []string{"make_socket", "make_pair", "take_connection", "deep", "main"},
			"gcc", "-O2", "-fomit-frame-pointer"), want: named, path: start},
		{name: "C static", program: c("native.c", "0", "gcc", "-g", "-static"), want: make, path: start},
		{name: "C, executable deleted", program: func(t *testing.T, dir string) program {
			p := c("native.c", "0", "gcc", "-g")(t, dir)
			if err := os.Remove(dir + "/native"); err != nil {
				t.Fatal(err)
			}
			return p
		}, want: make, path: start},
		{name: "C, a mount namespace of its own", program: func(t *testing.T, dir string) program {
			build(t, "gcc", "-O2", "-g", "-fomit-frame-pointer", "-pthread", "-o", dir+"/native", source(t, "native.c"))
			p := started(t, "unshare", langtest.Inside(dir+"/native")...)
			p.exe = langtest.AwaitInside(t, p.pid)
			return p
		}, want: make, path: start},
		{name: "C by clang", program: c("native.c", "0", "clang-19", "-g"), want: make, path: start},
		{name: "C with only .debug_frame", program: c("native.c", "0", "gcc", "-g", "-fno-asynchronous-unwind-tables"), want: make, path: start},
		{name: "C musl", program: c("native.c", "0", "musl-gcc", "-g"), want: make, partial: reasonNoTable + "; " + reasonGuessed,
			path: []string{"socket", "make_socket", "deep", "main"}},
		{name: "C musl static", program: c("native.c", "0", "musl-gcc", "-g", "-static"), want: make, partial: reasonGuessed, path: start},
		{name: "C 400 deep", program: c("native.c", "400", "gcc", "-g"), want: make,
			path: slices.Insert(slices.Clone(start), 2, slices.Repeat([]string{"deep"}, 400)...)},
		{name: "C 900 deep", program: c("native.c", "900", "gcc", "-g"), want: make, partial: reasonShort,
			path: []string{"socket", "make_socket", "deep"}},
		{name: "C large frames", program: c("odd.c", "large", "gcc", "-g"), want: odd, partial: reasonShort,
			path: []string{"socket", "make_socket", "large"}},
		{name: "C at the edge of a page", program: c("odd.c", "edge", "gcc", "-g"), want: odd,
			path: []string{"socket", "make_socket", "edge", "main", langtest.Process}},
		{name: "C signal handler", program: c("odd.c", "signal", "gcc", "-g"), want: odd,
			path: []string{"socket", "make_socket", "on_signal", "raise", "interrupted", "main", langtest.Process}},
		{name: "C signal handler musl", program: c("odd.c", "signal", "musl-gcc", "-g", "-static"), want: odd, partial: reasonGuessed,
			path: []string{"socket", "make_socket", "on_signal", "__restore_rt", "raise", "interrupted", "main", langtest.Process}},
		{name: "C signal stack", program: c("odd.c", "altstack", "gcc", "-g"), want: odd,
			path: []string{"socket", "make_socket", "on_signal"}, partial: reasonShort},
		{name: "C thread", program: c("odd.c", "thread", "gcc", "-g"), want: odd, path: thread},
		{name: "C thread musl", program: c("odd.c", "thread", "musl-gcc", "-g", "-static"), want: odd,
			path: []string{"socket", "make_socket", "in_thread", "start", "__clone"}, partial: reasonNoTable + "; " + reasonGuessed},
		{name: "C++", program: c("native.cc", "", "g++", "-g"),
			want: culprit{"net::Pool::open", "native.cc", markedLine(t, "native.cc", "SOCKET")},
			path: []string{"socket", "net::Pool::open", "std::function<void ()>::operator()", langtest.Thread}},
		{name: "Rust", program: func(t *testing.T, dir string) program {
			build(t, "rustc", "-O", "-g", "-o", dir+"/native", source(t, "native.rs"))
			return started(t, dir+"/native")
		}, want: culprit{"native::Pool::open", "native.rs", markedLine(t, "native.rs", "SOCKET")},
			path: []string{"socket", "native::Pool::open", "native::main::{{closure}}", langtest.Thread}},
		{name: "C++ stripped", program: stripped("native.cc", []string{"net::Pool::open"}, "g++", "-O2", "-fomit-frame-pointer", "-pthread"),
			want: culprit{function: "net::Pool::open"}, path: []string{"socket", "net::Pool::open", langtest.Thread}},
		{name: "Rust stripped", program: stripped("native.rs", []string{"native::Pool::open"}, "rustc", "-O"),
			want: culprit{function: "native::Pool::open"}, path: []string{"socket", "native::Pool::open", langtest.Thread}},
		{name: "Go, -s -w", program: goProgram("gosock"), want: culprit{"main.pool.open", "main.go", markedLine(t, "gosock/main.go", "SOCKET")},
			path: []string{"syscall.socket", "net.ListenPacket", "main.pool.open", "main.main", langtest.Goroutine}},
		{name: "Go with cgo, -s -w", program: goProgram("cgosock"), partial: reasonShort, path: []string{"socket", "", "runtime.asmcgocall"}},
		{name: "Python", program: script("/usr/bin/python3", "sock.py"), partial: fmt.Sprintf(reasonLanguage, "Python"),
			path: []string{"socket", "_PyEval_EvalFrameDefault", "Py_BytesMain", langtest.Process}},
		{name: "Ruby", program: script("ruby", "sock.rb"), partial: fmt.Sprintf(reasonLanguage, "Ruby"),
			path: []string{"socket", "rsock_socket", "rb_vm_exec", "ruby_run_node", langtest.Process}},
		{name: "Node", program: script("node", "sock.js"), partial: reasonGuessed,
			path: []string{"socket", "Builtins_JSEntry", "node::Start", langtest.Process}},
		{name: "Java", program: func(t *testing.T, dir string) program {
			build(t, "javac", "-d", dir, source(t, "Sock.java"))
			return started(t, "java", "-cp", dir, "Sock")
		}, partial: reasonGuessed, path: []string{"socket", "Java_sun_nio_ch_Net_socket0", "JavaMain", langtest.Thread}},
	}
}

// stripped makes a program without symbols; functions are those of its own.
func stripped(name string, functions []string, compiler ...string) func(*testing.T, string) program {
	return func(t *testing.T, dir string) program {
		exe, code := langtest.Stripped(t, dir, source(t, name), append(functions, langtest.Process), compiler...)
		p := started(t, exe)
		p.code = code
		return p
	}
}

// goProgram makes a program of deepstack's without symbols.
func goProgram(name string) func(*testing.T, string) program {
	return func(t *testing.T, dir string) program {
		build(t, "go", "build", "-ldflags", "-s -w", "-o", dir+"/"+name, "../deepstack/testdata/"+name)
		return started(t, dir+"/"+name)
	}
}

// enough is how many sockets of each program are looked at, at least.
const enough = 9

// Programs in every language, attached to while they run: the line that makes the
// socket is on the stack, and the walk comes to the start of the thread, or says
// why not. The same stack is copied once, or the walk was not known again.
func TestLanguages(t *testing.T) {
	needs.Root(t)
	needs.Tool(t, "gcc")
	byPID := map[uint32]*running{}
	var scope probe.Scope
	var all []*running
	table := langtest.NewTable("unwind", "tier 2", "tier 3")
	for _, e := range examples(t) {
		r := &running{example: e}
		t.Run("start "+e.name, func(sub *testing.T) { r.program = e.program(sub, t.TempDir()) })
		if r.pid == 0 {
			table.Skip()
			continue // skipped, and said why
		}
		cmd := r.cmd
		t.Cleanup(func() { end(cmd) })
		byPID[r.pid] = r
		scope.PIDs = append(scope.PIDs, r.pid)
		all = append(all, r)
	}
	tr := follow(t, scope)
	sockets := 0
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		tr.read(time.Now().Add(50*time.Millisecond), func(s socket) {
			sockets++
			r := byPID[s.process.PID]
			r.start = s.process.Start
			r.stacks, r.framed = append(r.stacks, s.stack), append(r.framed, s.framed)
		})
		if !slices.ContainsFunc(all, func(r *running) bool { return len(r.stacks) < enough }) {
			break
		}
	}
	for _, r := range all {
		ok := t.Run(r.name, func(t *testing.T) { check(t, tr, &r.example, &r.program, r.stacks) })
		table.Add(ok, r.name, r.gives(), r.framesGive(tr))
	}
	table.Check(t, *write)
	t.Logf("%d sockets, %d copies", sockets, tr.walked)
}

func check(t *testing.T, tr *tracer, e *example, p *program, ids []uint64) {
	t.Helper()
	if len(ids) < enough {
		t.Fatalf("%d sockets, want %d", len(ids), enough)
	}
	got := map[culprit]bool{}
	shown := map[uint64]bool{}
	onPath, asSaid := false, false
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
		frames := p.code.Name(o.Frames, p.exe)
		if o.Quality == stack.Complete && !langtest.Whole(frames) {
			t.Errorf("complete, and ends with %+v", frames[len(frames)-1])
		}
		made := found(frames, p.exe)
		got[made] = true
		onPath = onPath || (e.want == culprit{} || made == e.want) && langtest.OnPath(frames, e.path)
	}
	if e.want != (culprit{}) && !got[e.want] {
		t.Errorf("no stack from %+v; got %+v", e.want, got)
	}
	if !onPath {
		t.Errorf("no stack from %+v by way of %q", e.want, e.path)
	}
	if !asSaid {
		t.Errorf("no stack with the reason %q", e.partial)
	}
}

// found is the culprit of a stack.
func found(frames []stack.Frame, exe string) culprit {
	i := stack.Culprit(frames, exe)
	if i < 0 {
		return culprit{}
	}
	f := frames[i]
	if f.File == "" {
		return culprit{function: f.Function}
	}
	return culprit{f.Function, filepath.Base(f.File), f.Line}
}
