package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
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
	// pointers: the tier of frame pointers leads to the line. Of the others that
	// live for milliseconds, stacks wait for tier 2.
	pointers bool
}

// at says whether a finding leads to the line.
func (l *leaker) at(o *verdict.Origin) bool {
	if o.Culprit == nil {
		return false
	}
	f := o.Frames[*o.Culprit]
	if f.Kind != l.kind || !strings.Contains(f.Function, l.function) {
		return false
	}
	return l.file == "" || filepath.Base(f.File) == l.file && f.Line == l.line
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
				if os.Getenv("CI") != "" {
					t.Fatal(err)
				}
				t.Logf("%s is left out: %v (run scripts/setup.sh)", l.comm, err)
				return
			}
		}
		if len(compile) > 0 {
			if out, err := exec.Command(compile[0], compile[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("run %v: %v\n%s", compile, err, out)
			}
		}
		if l.file != "" {
			l.line = markedLine(t, filepath.Join(src, source), "LEAK")
		}
		all = append(all, l)
	}
	exe := func(name string) []string { return []string{filepath.Join(dir, name)} }
	out := func(name string) []string { return []string{"-o", filepath.Join(dir, name)} }
	c := func(name, compiler string, flags ...string) []string {
		return append(append([]string{compiler, "-O2", "-fomit-frame-pointer"}, append(flags, out(name)...)...), src+"/leak.c")
	}
	add(leaker{pointers: true, comm: "leak-c", argv: exe("leak-c"), function: "leak_here", file: "leak.c", kind: stack.Native}, "leak.c", c("leak-c", "gcc", "-g")...)
	add(leaker{pointers: true, comm: "leak-stripped", argv: exe("leak-stripped"), kind: stack.Native}, "leak.c", c("leak-stripped", "gcc", "-s")...)
	add(leaker{comm: "leak-static", argv: exe("leak-static"), function: "leak_here", file: "leak.c", kind: stack.Native}, "leak.c", c("leak-static", "gcc", "-g", "-static")...)
	add(leaker{pointers: true, comm: "leak-c++", argv: exe("leak-c++"), function: "leak_here", file: "leak.c", kind: stack.Native}, "leak.c", c("leak-c++", "g++", "-g", "-x", "c++")...)
	add(leaker{pointers: true, comm: "leak-rust", argv: exe("leak-rust"), function: "leak_here", file: "leak.rs", kind: stack.Native}, "leak.rs",
		append([]string{"rustc", "-O", "-g"}, append(out("leak-rust"), src+"/leak.rs")...)...)
	for name, source := range map[string]string{"leak-go": "goleak", "leak-cgo": "cgoleak"} {
		add(leaker{pointers: name == "leak-go", comm: name, argv: exe(name), function: "main.leakHere", file: "main.go", kind: stack.Go}, source+"/main.go",
			append([]string{"go", "build", "-ldflags=-s -w"}, append(out(name), "./testdata/languages/"+source)...)...)
	}
	add(leaker{comm: "python3", argv: []string{"python3", src + "/leak.py"}, function: "leak_here", file: "leak.py", kind: stack.Python}, "leak.py")
	add(leaker{comm: "java", argv: []string{"java", "-cp", dir, "Leak"}, function: "Leak.leakHere", file: "Leak.java", kind: stack.Java}, "Leak.java",
		"javac", "-d", dir, src+"/Leak.java")
	// Its own frames are not to be had, see docs/stacks.md.
	add(leaker{comm: "ruby", argv: []string{"ruby", src + "/leak.rb"}, function: "rsock_socket", kind: stack.Native}, "leak.rb")
	return all
}

// markedLine returns the line of a file that has a mark.
func markedLine(t *testing.T, path, mark string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), mark)
	if !found {
		t.Fatalf("%s has no %q", path, mark)
	}
	return strings.Count(before, "\n") + 1
}

// runAll runs the programs at once under sockleak run, as a user would, and returns
// the report.
func runAll(t *testing.T, all []leaker, stacks, count, pause string) *verdict.Report {
	t.Helper()
	var script strings.Builder
	for _, l := range all {
		script.WriteString("'" + strings.Join(append(l.argv, count, pause), "' '") + "' & ")
	}
	script.WriteString("wait")
	path := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.Command("sockleak", "run", "--stacks", stacks, "--interval", "500ms", "--top", "0", "-o", "json", "--report", path,
		"--", "sh", "-c", script.String())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitLeaked {
		t.Fatalf("run %v: %v\n%s", cmd, err, errs.String())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r verdict.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	t.Logf("%q", r.Notes)
	return &r
}

// culprits says where the findings of a program lead to, for a test that failed.
func culprits(r *verdict.Report, l *leaker) (all []string) {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Process.Comm != l.comm {
			continue
		}
		at := "nowhere: " + f.Origin.Reason
		if f.Origin.Culprit != nil {
			c := f.Origin.Frames[*f.Origin.Culprit]
			at = fmt.Sprintf("%s %s %s:%d", c.Kind, c.Function, c.File, c.Line)
		}
		all = append(all, fmt.Sprintf("%d %s at %s", f.Count, f.Origin.Quality, at))
	}
	return all
}

// of adds up what was found of a program: all sockets, those that lead to the
// line, and those of them whose stack is as complete as it can be.
func of(r *verdict.Report, l *leaker) (found, right, complete int) {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Process.Comm != l.comm {
			continue
		}
		found += f.Count
		if l.at(&f.Origin) {
			right += f.Count
			if f.Origin.Quality == stack.Complete {
				complete += f.Count
			}
		}
	}
	return found, right, complete
}

// Programs in every language that are started under run and leak for two seconds:
// every socket is counted, and most lead to the line, with a complete stack. The
// first ones of an interpreter may come before the unwinder has read it.
func TestRunLanguages(t *testing.T) {
	needs.Root(t)
	all := leakers(t, t.TempDir())
	r := runAll(t, all, "deep", "20", "150")
	for _, l := range all {
		t.Run(l.comm, func(t *testing.T) {
			found, right, complete := of(r, &l)
			t.Logf("%d found, %d lead to the line, %d complete", found, right, complete)
			if l.comm == "ruby" {
				complete = right // never: its own frames are missing
			}
			if found != 20 || right < 10 || complete < 10 {
				t.Errorf("%d found, %d lead to the line, %d complete; want 20, and 10 at least; %q", found, right, complete, culprits(r, &l))
			}
		})
	}
}

// Programs that live for some milliseconds: every socket is counted, though the
// unwinder of tier 1 comes too late. What the frame pointers' tier can lead to the
// line does.
func TestRunShort(t *testing.T) {
	needs.Root(t)
	all := leakers(t, t.TempDir())
	r := runAll(t, all, "auto", "5", "0")
	for _, l := range all {
		t.Run(l.comm, func(t *testing.T) {
			found, right, complete := of(r, &l)
			t.Logf("%d found, %d lead to the line, %d complete", found, right, complete)
			if found != 5 {
				t.Errorf("%d found, want 5", found)
			}
			if l.pointers && right != 5 {
				t.Errorf("%d lead to the line, want 5; %q", right, culprits(r, &l))
			}
		})
	}
}
