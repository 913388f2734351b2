package deepstack

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"sockleak/internal/langtest"
	"sockleak/internal/stack"
)

// culprit is where a program makes its sockets.
type culprit struct {
	function string
	file     string // base name; empty: not known
	line     int
	kind     stack.Kind
}

// language is a program of testdata and how it is made and started.
type language struct {
	name    string
	program func(t *testing.T, dir string) program
	want    []culprit // one of them for each call
	path    []string  // functions on a stack from the first of them, see langtest.OnPath
	partial string    // why its stacks are not complete; empty if they are
	least   int       // how many frames a stack has at least that isn't
	also    string    // what the path shows beside the line, for the table
}

// whole says whether all is there that can be.
func (l language) whole(o stack.Origin) bool {
	if l.partial != "" {
		return o.Quality == stack.Partial && o.Reason == l.partial
	}
	return o.Quality == stack.Complete
}

// gives is what the table says that its stacks have.
func (l language) gives(stripped bool) string {
	line := l.want[0]
	language := map[stack.Kind]string{stack.Python: "Python", stack.Node: "JavaScript", stack.Java: "Java", stack.Ruby: "Ruby"}[line.kind]
	switch {
	case l.partial != "":
		return "partial; " + l.also
	case stripped:
		return "complete; file and offset" + l.also
	case line.file == "":
		return "complete; function" + l.also
	case language != "":
		return fmt.Sprintf("complete; %s frames with file and line%s", language, l.also)
	}
	return "complete; function, file and line" + l.also
}

func examples(t *testing.T) []language {
	deep := func(depth string, flags ...string) func(*testing.T, string) program {
		return func(t *testing.T, dir string) program {
			build(t, "gcc", append(flags, "-O2", "-fomit-frame-pointer", "-o", dir+"/native", source(t, "native.c"))...)
			return started(t, dir+"/native", depth)
		}
	}
	c := func(flags ...string) func(*testing.T, string) program { return deep("0", flags...) }
	whole := ofNative(t)
	var named []culprit
	for _, w := range whole {
		named = append(named, culprit{function: w.function, kind: stack.Native})
	}
	start := []string{"socket", "make_socket", "deep", "main", langtest.Process}
	javaLine := []culprit{{"Sock.open", "Sock.java", markedLine(t, "Sock.java", "SOCKET"), stack.Java}}
	javaPath := []string{"socket", "java.nio.channels.DatagramChannel.open", "Sock.open", "Sock.serve", "Sock.main", langtest.Thread}
	pythonLine := []culprit{{"Pool.open", "sock.py", markedLine(t, "sock.py", "SOCKET"), stack.Python}}
	pythonPath := []string{"socket", "Pool.open", "serve", "<module>", "_PyEval_EvalFrameDefault", "Py_BytesMain", langtest.Process}
	python := func(depth string) func(*testing.T, string) program {
		return func(t *testing.T, _ string) program {
			return started(t, "/usr/bin/python3", source(t, "sock.py"), depth)
		}
	}
	return []language{
		{name: "C", program: c("-g"), want: whole, path: start},
		{name: "C without debug information", program: c(), want: named, path: start},
		{name: "C stripped", program: stripped("native.c", []string{"make_socket", "make_pair", "take_connection", "deep", "main"},
			"gcc", "-O2", "-fomit-frame-pointer"), want: named, path: start},
		{name: "C static", program: c("-g", "-static"), want: whole, path: start},
		{name: "C 400 deep", program: deep("400", "-g"), want: whole, path: deeper(start, "deep")},
		{name: "C 900 deep", program: deep("900", "-g"), want: whole, path: []string{"socket", "make_socket", "deep"},
			partial: "the stack is deeper than what can be walked", least: 580, also: "the innermost 580 frames at least"},
		{name: "C++ (thread, lambda, template)", program: func(t *testing.T, dir string) program {
			build(t, "g++", "-O2", "-g", "-fomit-frame-pointer", "-pthread", "-o", dir+"/native", source(t, "native.cc"))
			return started(t, dir+"/native")
		}, want: []culprit{native(t, "native.cc", "SOCKET", "net::Pool::open")},
			path: []string{"socket", "net::Pool::open", "std::function<void ()>::operator()", langtest.Thread}},
		{name: "Rust (thread)", program: func(t *testing.T, dir string) program {
			build(t, "rustc", "-O", "-g", "-o", dir+"/native", source(t, "native.rs"))
			return started(t, dir+"/native")
		}, want: []culprit{native(t, "native.rs", "SOCKET", "native::Pool::open")},
			path: []string{"socket", "native::Pool::open", "native::main::{{closure}}", langtest.Thread}},
		{name: "C++ stripped", program: stripped("native.cc", []string{"net::Pool::open"}, "g++", "-O2", "-fomit-frame-pointer", "-pthread"),
			want: []culprit{{function: "net::Pool::open", kind: stack.Native}}, path: []string{"socket", "net::Pool::open", langtest.Thread}},
		{name: "Rust stripped", program: stripped("native.rs", []string{"native::Pool::open"}, "rustc", "-O"),
			want: []culprit{{function: "native::Pool::open", kind: stack.Native}}, path: []string{"socket", "native::Pool::open", langtest.Thread}},
		{name: "Go, -s -w", program: func(t *testing.T, dir string) program {
			build(t, "go", "build", "-ldflags", "-s -w", "-o", dir+"/gosock", "./testdata/gosock")
			return started(t, dir+"/gosock")
		}, want: []culprit{{"main.pool.open", "main.go", markedLine(t, "gosock/main.go", "SOCKET"), stack.Go}},
			path: []string{"syscall.socket", "net.ListenPacket", "main.pool.open", "main.main", langtest.Goroutine}},
		{name: "Go with cgo, -s -w", program: func(t *testing.T, dir string) program {
			build(t, "go", "build", "-ldflags", "-s -w", "-o", dir+"/cgosock", "./testdata/cgosock")
			return started(t, dir+"/cgosock")
		}, want: []culprit{{"main.pool.open", "main.go", markedLine(t, "cgosock/main.go", "CALL"), stack.Go}},
			path: []string{"socket", "", "runtime.asmcgocall", "main.pool.open", "main.serve", "main.main", langtest.Goroutine},
			also: "; of C file and offset"},
		{name: "Python 3", program: python("0"), want: pythonLine, path: pythonPath},
		{name: "Python 3, 400 deep", program: python("400"), want: pythonLine, path: deeper(pythonPath, "serve")},
		{name: "Node 20", program: func(t *testing.T, _ string) program {
			return started(t, "node", source(t, "sock.js"))
		}, want: []culprit{{"openSocket", "sock.js", markedLine(t, "sock.js", "SOCKET"), stack.Node}},
			path: []string{"socket", "uv__tcp_bind", "Server.listen", "openSocket", "tick", "uv_run", "node::Start", langtest.Process}},
		{name: "Java, interpreted", program: func(t *testing.T, dir string) program {
			build(t, "javac", "-d", dir, source(t, "Sock.java"))
			return started(t, "java", "-Xint", "-cp", dir, "Sock")
		}, want: javaLine, path: javaPath},
		{name: "Java, compiled", program: compiledJava, want: javaLine, path: javaPath, also: ", inlined ones too"},
		{name: "Ruby", program: func(t *testing.T, _ string) program {
			return started(t, "ruby", source(t, "sock.rb"), "accept")
		}, want: []culprit{{"open", "sock.rb", markedLine(t, "sock.rb", "SOCKET"), stack.Ruby}, {"take", "sock.rb", markedLine(t, "sock.rb", "ACCEPT"), stack.Ruby},
			{"serve", "sock.rb", markedLine(t, "sock.rb", "CONNECT"), stack.Ruby}},
			path: []string{"socket", "rsock_socket", "open", "serve", langtest.Ruby}},
	}
}

// deeper is a path on which a function calls itself 400 times.
func deeper(path []string, function string) []string {
	return slices.Insert(slices.Clone(path), slices.Index(path, function), slices.Repeat([]string{function}, 400)...)
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

// compiledJava starts a program of which the virtual machine says that it has compiled
// the method with the line, with what that calls inlined. Only then it returns, so that
// every stack that is taken is one of compiled code.
func compiledJava(t *testing.T, dir string) program {
	build(t, "javac", "-d", dir, source(t, "Sock.java"))
	log := dir + "/vm.log"
	p := started(t, "java", "-Xbatch", "-XX:+UnlockDiagnosticVMOptions", "-XX:+LogVMOutput", "-XX:LogFile="+log,
		"-XX:+PrintCompilation", "-XX:+PrintInlining", "-cp", dir, "Sock", "100000")
	compiled := regexp.MustCompile(` 4 +Sock::open \(\d+ bytes\)\n(.*made not entrant\n)*.*java\.nio\.channels\.DatagramChannel::open \(\d+ bytes\) +inline`)
	for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err == nil && compiled.Match(text) {
			return p
		}
		if time.Now().After(limit) {
			end(p.cmd)
			t.Fatalf("Sock.open was not compiled: %v\n%s", err, text)
		}
	}
}

// native is a marked line of a native program.
func native(t *testing.T, name, mark, function string) culprit {
	t.Helper()
	return culprit{function, name, markedLine(t, name, mark), stack.Native}
}

// ofNative are the lines where native.c makes sockets.
func ofNative(t *testing.T) []culprit {
	t.Helper()
	return []culprit{native(t, "native.c", "SOCKET", "make_socket"), native(t, "native.c", "PAIR", "make_pair"),
		native(t, "native.c", "ACCEPT", "take_connection")}
}

// unusual are programs in C under circumstances.
func unusual(t *testing.T) []language {
	one := func(name string) func(*testing.T, string) string {
		return func(t *testing.T, dir string) string {
			build(t, "gcc", "-O2", "-g", "-fomit-frame-pointer", "-pthread", "-o", dir+"/native", source(t, name))
			return dir + "/native"
		}
	}
	run := func(name string) func(*testing.T, string) program {
		return func(t *testing.T, dir string) program { return started(t, one(name)(t, dir)) }
	}
	start := []string{"socket", "make_socket", "deep", "main", langtest.Process}
	return []language{
		{name: "C, musl", program: func(t *testing.T, dir string) program {
			build(t, "musl-gcc", "-O2", "-g", "-fomit-frame-pointer", "-o", dir+"/native", source(t, "native.c"))
			return started(t, dir+"/native")
		}, want: []culprit{{}}, path: []string{"socket"}, partial: "the walk came to a function without unwind information",
			also: "libc's own frame alone: Debian's musl has no unwind tables"},
		{name: "C, in a signal handler", program: run("signal.c"), want: []culprit{native(t, "signal.c", "SOCKET", "on_alarm")},
			path: []string{"socket", "on_alarm", "pause", "wait_for_it", "main", langtest.Process}, also: "; with what was interrupted"},
		{name: "C, eight threads", program: run("threads.c"), want: []culprit{native(t, "threads.c", "SOCKET", "make_socket")},
			path: []string{"socket", "make_socket", "work", langtest.Thread}},
		{name: "C, executable deleted", program: func(t *testing.T, dir string) program {
			p := started(t, one("native.c")(t, dir))
			if err := os.Remove(dir + "/native"); err != nil {
				t.Fatal(err)
			}
			return p
		}, want: ofNative(t), path: start},
		{name: "C, a mount namespace of its own", program: func(t *testing.T, dir string) program {
			p := started(t, "unshare", langtest.Inside(one("native.c")(t, dir))...)
			p.exe = langtest.AwaitInside(t, p.pid)
			return p
		}, want: ofNative(t), path: start},
	}
}
