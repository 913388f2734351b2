package deepstack

import (
	"fmt"
	"os"
	"testing"
	"time"

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
	partial string    // why its stacks are not complete; empty if they are
	gives   string    // of the line, for the table of docs/stacks.md
}

// whole says whether all is there that can be.
func (l language) whole(o stack.Origin) bool {
	if l.partial != "" {
		return o.Quality == stack.Partial && o.Reason == l.partial
	}
	return o.Quality == stack.Complete
}

func examples(t *testing.T) []language {
	native := func(name, mark, function string) culprit {
		return culprit{function, name, markedLine(t, name, mark), stack.Native}
	}
	deep := func(depth string, flags ...string) func(*testing.T, string) program {
		return func(t *testing.T, dir string) program {
			build(t, "gcc", append(flags, "-O2", "-fomit-frame-pointer", "-o", dir+"/native", source(t, "native.c"))...)
			return started(t, dir+"/native", depth)
		}
	}
	c := func(flags ...string) func(*testing.T, string) program { return deep("0", flags...) }
	whole := []culprit{native("native.c", "SOCKET", "make_socket"), native("native.c", "PAIR", "make_pair"),
		native("native.c", "ACCEPT", "take_connection")}
	var named, stripped []culprit
	for _, w := range whole {
		named = append(named, culprit{function: w.function, kind: stack.Native})
	}
	stripped = []culprit{{kind: stack.Native}}
	javaLine := []culprit{{"Sock.open", "Sock.java", markedLine(t, "Sock.java", "SOCKET"), stack.Java}}
	java := func(flag string, args ...string) func(*testing.T, string) program {
		return func(t *testing.T, dir string) program {
			build(t, "javac", "-d", dir, source(t, "Sock.java"))
			return started(t, "java", append([]string{flag, "-cp", dir, "Sock"}, args...)...)
		}
	}
	pythonLine := []culprit{{"Pool.open", "sock.py", markedLine(t, "sock.py", "SOCKET"), stack.Python}}
	python := func(deeper string) func(*testing.T, string) program {
		return func(t *testing.T, _ string) program {
			return started(t, "/usr/bin/python3", source(t, "sock.py"), deeper)
		}
	}
	return []language{
		{gives: "function, file and line", name: "C", program: c("-g"), want: whole},
		{gives: "function", name: "C without debug information", program: c(), want: named},
		{gives: "file and offset", name: "C stripped", program: c("-s"), want: stripped},
		{gives: "function, file and line", name: "C static", program: c("-g", "-static"), want: whole},
		{gives: "function, file and line", name: "C 400 deep", program: deep("400", "-g"), want: whole},
		{name: "C 900 deep", program: deep("900", "-g"), want: whole[:1], partial: "the stack is deeper than what can be walked", gives: "the innermost 580 frames"},
		{name: "C++ (thread, lambda, template)", program: func(t *testing.T, dir string) program {
			build(t, "g++", "-O2", "-g", "-fomit-frame-pointer", "-pthread", "-o", dir+"/native", source(t, "native.cc"))
			return started(t, dir+"/native")
		}, want: []culprit{native("native.cc", "SOCKET", "net::Pool::open")}, gives: "function, file and line"},
		{name: "Rust (thread)", program: func(t *testing.T, dir string) program {
			build(t, "rustc", "-O", "-g", "-o", dir+"/native", source(t, "native.rs"))
			return started(t, dir+"/native")
		}, want: []culprit{native("native.rs", "SOCKET", "native::Pool::open")}, gives: "function, file and line"},
		{name: "Go, -s -w", program: func(t *testing.T, dir string) program {
			build(t, "go", "build", "-ldflags", "-s -w", "-o", dir+"/gosock", "./testdata/gosock")
			return started(t, dir+"/gosock")
		}, want: []culprit{{"main.pool.open", "main.go", markedLine(t, "gosock/main.go", "SOCKET"), stack.Go}}, gives: "function, file and line"},
		{name: "Go with cgo, -s -w", program: func(t *testing.T, dir string) program {
			build(t, "go", "build", "-ldflags", "-s -w", "-o", dir+"/cgosock", "./testdata/cgosock")
			return started(t, dir+"/cgosock")
		}, want: []culprit{{"main.pool.open", "main.go", markedLine(t, "cgosock/main.go", "CALL"), stack.Go}}, gives: "C: file and offset; Go: function, file and line"},
		{name: "Python 3", program: python("0"), want: pythonLine, gives: "Python frames with file and line"},
		{name: "Python 3, 400 deep", program: python("400"), want: pythonLine, gives: "Python frames with file and line"},
		{name: "Node 20", program: func(t *testing.T, _ string) program {
			return started(t, "node", source(t, "sock.js"))
		}, want: []culprit{{"openSocket", "sock.js", markedLine(t, "sock.js", "SOCKET"), stack.Node}}, gives: "JavaScript frames with file and line"},
		{name: "Java, interpreted", program: java("-Xint"), want: javaLine, gives: "Java frames with file and line"},
		{name: "Java, compiled", program: java("-Xbatch", "100000"), want: javaLine, gives: "Java frames with file and line, inlined ones too"},
		{name: "Ruby", program: func(t *testing.T, _ string) program {
			return started(t, "ruby", source(t, "sock.rb"))
		}, want: []culprit{{function: "rsock_socket", kind: stack.Native}}, partial: fmt.Sprintf(reasonUnlearned, "Ruby"), gives: "native frames, none of Ruby"},
	}
}

// unusual are programs in C under circumstances.
func unusual(t *testing.T) []language {
	line := func(name, function string) []culprit {
		return []culprit{{function, name, markedLine(t, name, "SOCKET"), stack.Native}}
	}
	one := func(name string) func(*testing.T, string) string {
		return func(t *testing.T, dir string) string {
			build(t, "gcc", "-O2", "-g", "-fomit-frame-pointer", "-pthread", "-o", dir+"/native", source(t, name))
			return dir + "/native"
		}
	}
	start := func(name string) func(*testing.T, string) program {
		return func(t *testing.T, dir string) program { return started(t, one(name)(t, dir)) }
	}
	return []language{
		{name: "C, musl", program: func(t *testing.T, dir string) program {
			build(t, "musl-gcc", "-O2", "-g", "-fomit-frame-pointer", "-o", dir+"/native", source(t, "native.c"))
			return started(t, dir+"/native")
		}, want: []culprit{{}}, partial: "the walk came to a function without unwind information",
			gives: "libc's own frame alone: Debian's musl has no unwind tables"},
		{name: "C, in a signal handler", program: start("signal.c"), want: line("signal.c", "on_alarm"), gives: "function, file and line; with what was interrupted"},
		{name: "C, eight threads", program: start("threads.c"), want: line("threads.c", "make_socket"), gives: "function, file and line"},
		{name: "C, executable deleted", program: func(t *testing.T, dir string) program {
			p := started(t, one("native.c")(t, dir))
			if err := os.Remove(dir + "/native"); err != nil {
				t.Fatal(err)
			}
			return p
		}, want: line("native.c", "make_socket"), gives: "function, file and line"},
		{name: "C, a mount namespace of its own", program: func(t *testing.T, dir string) program {
			return startedInside(t, one("native.c")(t, dir))
		}, want: line("native.c", "make_socket"), gives: "function, file and line"},
	}
}

// startedInside starts a program from a file that is in no mount namespace but its
// own.
func startedInside(t *testing.T, exe string) program {
	t.Helper()
	const inside = "/mnt/native"
	p := started(t, "unshare", "--mount", "/bin/sh", "-c", `mount -t tmpfs none /mnt && cp "$0" `+inside+` && exec `+inside, exe)
	for end := time.Now().Add(10 * time.Second); p.exe != inside; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s still runs", p.exe)
		}
		var err error
		if p.exe, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}
