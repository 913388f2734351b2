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
	exe      string // as the kernel has it; empty: what argv runs
	function string
	path     []string // besides it on the stack, and in this order
	file     string   // base name, empty if the line isn't to be had
	line     int
	kind     stack.Kind
	asked    bool // the line is where the sockets were asked for: an event loop makes them
	// through is the innermost function of the runtime that unwind tables lead to,
	// where they don't lead to the line: what of a program is known that lives for
	// milliseconds.
	through string
	code    langtest.Code // stripped: where its functions are
	partial bool          // no tables say where its stack goes on
	// fleeting: nobody can open its file any more once it has ended, so that its
	// stacks may be walked too late.
	fleeting bool
}

// wants is how complete a stack of it can be.
func (l *leaker) wants() stack.Quality {
	if l.partial {
		return stack.Partial
	}
	return stack.Complete
}

// leads says whether a finding leads to the line, and how complete the stack is
// that does. One that says it is complete must go to the start.
func (l *leaker) leads(f *verdict.Finding) (stack.Quality, bool) {
	frames, culprit, quality := f.Origin.Frames, f.Origin.Culprit, f.Origin.Quality
	if r := f.RequestedAt; l.asked && r != nil {
		frames, culprit, quality = r.Frames, r.Culprit, r.Quality
	}
	if culprit == nil {
		return quality, false
	}
	if l.code != nil && frames[*culprit].Function != "" {
		return quality, false // there is nothing to have it from
	}
	frames = l.code.Name(frames, frames[*culprit].Module)
	at := frames[*culprit]
	if at.Kind != l.kind || !strings.Contains(at.Function, l.function) || !langtest.OnPath(frames, l.path) {
		return quality, false
	}
	if quality == stack.Complete && !langtest.Whole(frames) {
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
	process := []string{"socket", "leak_here", "main", langtest.Process}
	native := func(l leaker, compiler string, flags ...string) {
		l.function, l.file, l.kind = "leak_here", "leak.c", stack.Native
		if l.argv == nil {
			l.argv = exe(l.comm)
		}
		if l.path == nil {
			l.path = process
		}
		add(l, "leak.c", c(l.comm, compiler, flags...)...)
	}
	native(leaker{comm: "leak-c"}, "gcc", "-g")
	native(leaker{comm: "leak-static"}, "gcc", "-g", "-static")
	native(leaker{comm: "leak-c++"}, "g++", "-g", "-x", "c++")
	native(leaker{comm: "leak-musl", path: process[:3], partial: true}, "musl-gcc", "-g")
	deleting := filepath.Join(dir, "deleting")
	if err := os.Mkdir(deleting, 0o755); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(deleting, "leak-deleted")
	native(leaker{comm: "leak-deleted", fleeting: true, exe: gone,
		argv: []string{"/bin/sh", "-c", `cp "$0" "$1" && shift && exec ` + gone + ` "$@"`, filepath.Join(dir, "leak-deleted"), gone}}, "gcc", "-g", "-DDELETED")
	native(leaker{comm: "leak-deep", path: slices.Concat(process[:2], slices.Repeat([]string{"deep"}, 400), process[2:])}, "gcc", "-g", "-DDEEP=400")
	native(leaker{comm: "leak-signal", path: []string{"socket", "leak_here", "on_signal", "raise", "main", langtest.Process}}, "gcc", "-g", "-DIN_SIGNAL")
	native(leaker{comm: "leak-thread", path: []string{"socket", "leak_here", "in_thread", langtest.Thread}}, "gcc", "-g", "-DIN_THREAD")
	add(leaker{comm: filepath.Base(langtest.InsidePath), fleeting: true, argv: slices.Concat([]string{"unshare"}, langtest.Inside(filepath.Join(dir, "leak-c"))), exe: langtest.InsidePath,
		function: "leak_here", file: "leak.c", kind: stack.Native, path: process}, "leak.c")
	add(leaker{comm: "leak-rust", argv: exe("leak-rust"), function: "leak_here", file: "leak.rs", kind: stack.Native}, "leak.rs",
		slices.Concat([]string{"rustc", "-O", "-g"}, out("leak-rust"), []string{src + "/leak.rs"})...)
	stripped := func(name, of, function string) {
		if !slices.ContainsFunc(all, func(l leaker) bool { return l.comm == of }) {
			return // and what is missing was said
		}
		code := langtest.CodeOf(t, filepath.Join(dir, of), function, "main", langtest.Process)
		add(leaker{comm: name, argv: exe(name), function: function, kind: stack.Native, code: code, path: []string{"socket", function, "main", langtest.Process}},
			"", append([]string{"strip", "-s", filepath.Join(dir, of)}, out(name)...)...)
	}
	stripped("leak-strip-c", "leak-c", "leak_here")
	stripped("leak-strip-c++", "leak-c++", "leak_here")
	stripped("leak-strip-rust", "leak-rust", "leak::leak_here")
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
