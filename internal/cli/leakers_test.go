package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sockleak/internal/langtest"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// leaker is a program of testdata/languages, which leaks sockets at one line and
// ends.
type leaker struct {
	comm     string
	argv     []string
	function string
	file     string // base name, empty if the line isn't to be had
	line     int
	kind     stack.Kind
	asked    bool // the line is where the sockets were asked for: an event loop makes them
	// through is the innermost function of the runtime that unwind tables lead to,
	// where they don't lead to the line: what of a program is known that lives for
	// milliseconds.
	through string
	code    langtest.Code // stripped: where the function is
}

// leads says whether a finding leads to the line, and how complete the stack is
// that does.
func (l *leaker) leads(f *verdict.Finding) (stack.Quality, bool) {
	frames, culprit, quality := f.Origin.Frames, f.Origin.Culprit, f.Origin.Quality
	if r := f.RequestedAt; l.asked && r != nil {
		frames, culprit, quality = r.Frames, r.Culprit, r.Quality
	}
	if culprit == nil {
		return quality, false
	}
	at := frames[*culprit]
	switch {
	case l.code != nil:
		return quality, at.Kind == l.kind && at.Function == "" && l.code.Function(at.Address) == l.function
	case at.Kind != l.kind || !strings.Contains(at.Function, l.function):
		return quality, false
	}
	return quality, l.file == "" || filepath.Base(at.File) == l.file && at.Line == l.line
}

// leakers builds them all; what there is no tool for is left out, and said.
func leakers(t *testing.T, dir string) (all []leaker) {
	t.Helper()
	src, err := filepath.Abs("testdata/languages")
	if err != nil {
		t.Fatal(err)
	}
	add := func(l leaker, source string, compile ...string) {
		t.Helper()
		for _, tool := range append(slices.Clone(compile[:min(1, len(compile))]), l.argv[0]) {
			if _, err := exec.LookPath(tool); err != nil && !strings.HasPrefix(tool, dir) {
				missing(t, l.comm, err)
				return
			}
		}
		if len(compile) > 0 {
			if out, err := exec.Command(compile[0], compile[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("run %v: %v\n%s", compile, err, out)
			}
		}
		if l.file != "" {
			l.line = workload.Line(t, filepath.Join(src, source), "LEAK")
		}
		all = append(all, l)
	}
	exe := func(name string) []string { return []string{filepath.Join(dir, name)} }
	out := func(name string) []string { return []string{"-o", filepath.Join(dir, name)} }
	c := func(name, compiler string, flags ...string) []string {
		return append(append([]string{compiler, "-O2", "-fomit-frame-pointer"}, append(flags, out(name)...)...), src+"/leak.c")
	}
	native := func(name, compiler string, flags ...string) {
		l := leaker{comm: name, argv: exe(name), function: "leak_here", file: "leak.c", kind: stack.Native}
		add(l, "leak.c", c(name, compiler, flags...)...)
	}
	native("leak-c", "gcc", "-g")
	native("leak-static", "gcc", "-g", "-static")
	native("leak-c++", "g++", "-g", "-x", "c++")
	add(leaker{comm: "leak-stripped", argv: exe("leak-stripped"), function: "leak_here", kind: stack.Native,
		code: langtest.CodeOf(t, dir+"/leak-c", "leak_here")}, "leak.c", c("leak-stripped", "gcc", "-s")...)
	add(leaker{comm: "leak-rust", argv: exe("leak-rust"), function: "leak_here", file: "leak.rs", kind: stack.Native}, "leak.rs",
		append([]string{"rustc", "-O", "-g"}, append(out("leak-rust"), src+"/leak.rs")...)...)
	for name, source := range map[string]string{"leak-go": "goleak", "leak-cgo": "cgoleak"} {
		l := leaker{comm: name, argv: exe(name), function: "main.leakHere", file: "main.go", kind: stack.Go}
		if name == "leak-cgo" {
			l.through = "runtime.asmcgocall" // where the stack of C ends
		}
		add(l, source+"/main.go",
			append([]string{"go", "build", "-ldflags=-s -w"}, append(out(name), "./testdata/languages/"+source)...)...)
	}
	add(leaker{comm: "python3", argv: []string{"/usr/bin/python3", src + "/leak.py"}, function: "leak_here", file: "leak.py", kind: stack.Python, through: "_PyEval_EvalFrameDefault"}, "leak.py")
	add(leaker{comm: "node", argv: []string{"node", src + "/leak.js"}, function: "leakHere", file: "leak.js", kind: stack.Node, asked: true, through: "uv__tcp_connect"}, "leak.js")
	for name, flags := range map[string][]string{
		"java-int": {"-Xint"},
		// At their first call, by the compiler that guesses nothing.
		"java-comp": {"-Xcomp", "-XX:TieredStopAtLevel=1", "-XX:CompileOnly=Leak"},
	} {
		java, err := exec.LookPath("java")
		if err == nil {
			err = os.Symlink(java, filepath.Join(dir, name)) // its own name in the report
		}
		if err != nil {
			missing(t, name, err)
			continue
		}
		add(leaker{comm: name, argv: slices.Concat(exe(name), flags, []string{"-cp", dir, "Leak"}), function: "Leak.leakHere", file: "Leak.java", kind: stack.Java,
			through: "Java_sun_nio_ch_Net_socket0"},
			"Leak.java", "javac", "-d", dir, src+"/Leak.java")
	}
	add(leaker{comm: "ruby", argv: []string{"ruby", src + "/leak.rb"}, function: "leak_here", file: "leak.rb", kind: stack.Ruby, through: "rsock_socket"}, "leak.rb")
	return all
}

// missing says of a program that there is no tool for it. In CI that fails.
func missing(t *testing.T, name string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Logf("%s is left out: %v (run scripts/setup.sh)", name, err)
}
