package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// product builds sockleak as users have it. With the race detector, as the tests have
// it, what decides here takes many times as long: reading the tables and the symbols of
// a large program.
func product(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sockleak")
	cmd := exec.Command("go", "build", "-o", path, "sockleak/cmd/sockleak")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run %v: %v\n%s", cmd, err, out)
	}
	return path
}

// runAll runs the programs at once, as run does one.
func runAll(t *testing.T, sockleak string, all []leaker, stacks, count, pause string) *verdict.Report {
	t.Helper()
	var script strings.Builder
	for _, l := range all {
		script.WriteString("'" + strings.Join(append(l.argv, count, pause), "' '") + "' & ")
	}
	script.WriteString("wait")
	return run(t, sockleak, []string{"--stacks", stacks}, "sh", "-c", script.String())
}

// run runs a command that leaks under sockleak run, with these flags besides, and returns
// the report.
func run(t *testing.T, sockleak string, flags []string, argv ...string) *verdict.Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.Command(sockleak, slices.Concat([]string{"run", "--interval", "500ms", "--min-age", "1s", "--top", "0",
		"-o", "json", "--report", path}, flags, []string{"--"}, argv)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitLeaked {
		t.Fatalf("run %v: %v\n%s", cmd, err, errs.String())
	}
	r := reportIn(t, path)
	t.Logf("%q, lost %+v", r.Notes, r.Loss)
	return r
}

// reportIn reads a report.
func reportIn(t testing.TB, path string) *verdict.Report {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r verdict.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
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
		if r := f.RequestedAt; r != nil {
			at += fmt.Sprintf(", asked for by a stack that is %s: %s", r.Quality, r.Reason)
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
		if quality, ok := l.leads(f); ok {
			right += f.Count
			if quality == l.wants() {
				complete += f.Count
			}
		}
	}
	return found, right, complete
}

// counts says of every finding whose it is and how many sockets it has.
func counts(r *verdict.Report) (all []string) {
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%d %s in %s (%d), %s", f.Count, f.Class, f.Process.Comm, f.Process.PID, f.Origin.Reason))
	}
	return all
}

// lateWrong says of the sockets of a program that were made last which don't lead to the
// line with a complete stack. All of its sockets must be in the report.
func lateWrong(t *testing.T, r *verdict.Report, l *leaker, last int) (wrong []string) {
	t.Helper()
	type socket struct {
		age   float64
		wrong string
	}
	var all []socket
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Process.Comm != l.comm {
			continue
		}
		why := ""
		if quality, ok := l.leads(f); !ok || quality != l.wants() {
			why = fmt.Sprintf("line %v, %s: %s", ok, quality, f.Origin.Reason)
		}
		for _, s := range f.Sockets {
			if s.Age == nil {
				t.Fatalf("a socket of %s without an age", l.comm)
			}
			all = append(all, socket{*s.Age, why})
		}
	}
	slices.SortFunc(all, func(a, b socket) int { return cmp.Compare(a.age, b.age) })
	for _, s := range all[:min(last, len(all))] {
		if s.wrong != "" {
			wrong = append(wrong, fmt.Sprintf("%.1f s old: %s", s.age, s.wrong))
		}
	}
	return wrong
}

// Programs in every language that are started under run and leak for ten seconds:
// every socket is counted. Tier 2 leads to the line in native code from the first one
// on. In interpreted code most do, for the first ones may come before tier 1 has read
// the interpreter; those of the last three seconds all do.
func TestRunLanguages(t *testing.T) {
	needs.Root(t)
	const sockets, late = 40, 12
	all, sockleak := leakers(t, t.TempDir()), product(t)
	interpreted := slices.IndexFunc(all, func(l leaker) bool { return l.kind != stack.Native && l.kind != stack.Go })
	// Not all at once: the unwinder reads one file after the other.
	for _, some := range [][]leaker{all[:interpreted], all[interpreted:]} {
		r := runAll(t, sockleak, some, "deep", strconv.Itoa(sockets), "250")
		for _, l := range some {
			t.Run(l.comm, func(t *testing.T) {
				found, right, complete := of(r, &l)
				t.Logf("%d found, %d lead to the line, %d complete", found, right, complete)
				least := sockets
				if l.through != "" {
					least = sockets / 2
				}
				if found != sockets || right < least || complete < least {
					t.Errorf("%d found, %d lead to the line, %d complete; want %d, and %d at least; %q", found, right, complete, sockets, least, culprits(r, &l))
				}
				if wrong := lateWrong(t, r, &l, late); len(wrong) > 0 {
					t.Errorf("%d of the last %d are not as they should be: %q", len(wrong), late, wrong)
				}
			})
		}
	}
}

// program returns the path of the program of a leaker, as the kernel has it.
func program(t *testing.T, l *leaker) string {
	t.Helper()
	if l.exe != "" {
		return l.exe
	}
	path, err := exec.LookPath(l.argv[0])
	if err != nil {
		t.Fatal(err)
	}
	return resolved(t, path)
}

// otherPrograms returns what the findings of a program say that it is, where that is wrong.
func otherPrograms(r *verdict.Report, l *leaker, program string) (others []string) {
	for i := range r.Findings {
		switch p := &r.Findings[i].Process; {
		case p.Comm != l.comm:
		case p.Exe == nil:
			others = append(others, "unknown")
		case *p.Exe != program:
			others = append(others, *p.Exe)
		}
	}
	return others
}

// reached counts the sockets of a program whose stack has the function that unwind
// tables lead to, or if none is named the program, and that say they are complete only if
// they lead to the line.
func reached(r *verdict.Report, l *leaker) (sum int) {
	for i := range r.Findings {
		f := &r.Findings[i]
		_, right := l.leads(f)
		honest := right || f.Origin.Quality == stack.Partial && f.Origin.Reason != ""
		if f.Process.Comm == l.comm && honest &&
			slices.ContainsFunc(f.Origin.Frames, func(f stack.Frame) bool {
				return f.Function == l.through || l.through == "" && f.Module == l.exe
			}) {
			sum += f.Count
		}
	}
	return sum
}

// Programs that make all their sockets in some milliseconds, and end then (Node stays for
// three seconds more): every socket is counted. Tier 1 comes too late, but tier 2 leads to
// the line in native code, and to the interpreter's function in the others. Which program
// it was is known although it is gone.
func TestRunShort(t *testing.T) {
	needs.Root(t)
	all := leakers(t, t.TempDir())
	r := runAll(t, product(t), all, "auto", "5", "0")
	for _, l := range all {
		t.Run(l.comm, func(t *testing.T) {
			found, right, complete := of(r, &l)
			if others := otherPrograms(r, &l, program(t, &l)); others != nil {
				t.Errorf("the program is %q", others)
			}
			if l.through != "" || l.fleeting {
				if n := reached(r, &l); found != 5 || n != 5 {
					t.Errorf("%d found, %d stacks with %q, or partial; want 5; %q of %q", found, n, l.through, culprits(r, &l), counts(r))
				}
				return
			}
			if found != 5 || right != 5 || complete != 5 {
				t.Errorf("%d found, %d lead to the line, %d complete, want 5; %q", found, right, complete, culprits(r, &l))
			}
		})
	}
}

// Programs that are started by themselves, make five sockets and end, Python within 50 ms
// after it began and the others' within 25 ms of the first: what they begin with has been
// read ahead, and every socket leads to the line. Ruby is given 100 ms, for it loads what
// isn't known ahead. On a machine with other work a program may be over before its names
// were read, so each has three tries.
func TestRunAlone(t *testing.T) {
	needs.Root(t)
	const sockets, tries = 5, 3
	all, sockleak := leakers(t, t.TempDir()), product(t)
	for _, l := range all {
		pause := "5"
		if l.kind == stack.Ruby {
			pause = "20"
		}
		t.Run(l.comm, func(t *testing.T) {
			for range tries {
				r := run(t, sockleak, nil, append(l.argv, strconv.Itoa(sockets), pause)...)
				found, right, complete := of(r, &l)
				if found == sockets && right == sockets && complete == sockets {
					return
				}
				t.Logf("%d found, %d lead to the line, %d complete, want %d; %q", found, right, complete, sockets, culprits(r, &l))
			}
			t.Errorf("not once in %d tries", tries)
		})
	}
}
