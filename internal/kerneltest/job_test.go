package kerneltest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// leak is what must be right about a finding: what, how many, and which function
// of the program it leads to.
type leak struct {
	class    verdict.Class
	count    int
	function string
}

// leaks are those of a program, by class.
func leaks(r *verdict.Report, comm string) map[verdict.Class]leak {
	found := map[verdict.Class]leak{}
	for _, f := range r.Findings {
		if f.Process.Comm != comm {
			continue
		}
		l := leak{class: f.Class, count: f.Count + found[f.Class].count, function: "none"}
		for _, frame := range f.Origin.Frames {
			if strings.HasPrefix(frame.Function, "leak_here_") {
				l.function = frame.Function
			}
		}
		found[f.Class] = l
	}
	return found
}

// classes is what leak_classes leaks when it was told to so often.
func classes(rounds int) map[verdict.Class]leak {
	want := map[verdict.Class]leak{}
	for class, function := range map[verdict.Class]string{
		verdict.NeverUsed:      "leak_here_never",
		verdict.ConnectFailed:  "leak_here_refused",
		verdict.ConnectPending: "leak_here_pending",
		verdict.PeerClosed:     "leak_here_closewait",
		verdict.Dead:           "leak_here_reset",
		verdict.Inherited:      "leak_here_inherited",
	} {
		want[class] = leak{class, rounds, function}
	}
	return want
}

// sameLeaks reports whether both are the same, by what fmt prints: maps are in
// the order of their keys.
func sameLeaks(a, b map[verdict.Class]leak) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// rounds is how often the programs are told to leak.
const rounds = 4

// traced leaks in every way while the command traces, and returns the last
// report, in which all of it was found.
func traced(t *testing.T, k *tracing, p *workload.Proc) *verdict.Report {
	t.Helper()
	for range rounds {
		p.Do("leak")
	}
	want := classes(rounds)
	k.until("all leaks are found", func(r *verdict.Report) bool { return sameLeaks(leaks(r, "leak_classes"), want) })
	r, status := k.end()
	if got := leaks(r, "leak_classes"); !sameLeaks(got, want) || r.Verdict != verdict.Leak || status != 1 {
		t.Errorf("at the end, with status %d:\n got %v\nwant %v\n%s", status, got, want, describe(r))
	}
	if r.Loss.Events() != 0 {
		t.Errorf("lost %+v", r.Loss)
	}
	return r
}

// TestAttach finds a leak of every class in a running program, each with the
// function that made it, by frame pointers.
func TestAttach(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	r := traced(t, begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID)), p)
	for _, f := range r.Findings {
		if f.Origin.Quality != stack.Partial {
			t.Errorf("the stack of %s is %s: this is the tier by frame pointers", f.Class, f.Origin.Quality)
		}
	}
}

// TestWholeSystem hunts: it finds the one program that leaks in the whole system.
func TestWholeSystem(t *testing.T) {
	needs.Root(t)
	for _, name := range []string{"ok_churn", "ok_keepalive", "ok_listener", "ok_longpoll", "ok_pool"} {
		program(t, name)
	}
	p := program(t, "leak_classes")
	r := traced(t, begin(t, "hunt"), p)
	for _, f := range r.Findings {
		if strings.HasPrefix(f.Process.Comm, "ok_") {
			t.Errorf("%d %s in %s, which is healthy", f.Count, f.Class, f.Process.Comm)
		}
	}
}

// TestRun: a command that leaks and ends at once.
func TestRun(t *testing.T) {
	needs.Root(t)
	file := t.TempDir() + "/report.json"
	got := sockleak(t, "run", "--stacks", "fp", "--interval", "200ms", "-o", "json", "--report", file, "--",
		workload.Build(t, "leak_never"), "--pre", "5", "--then-on-command")
	if want := (outcome{status: 100, stdout: "ready\n"}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r verdict.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	want := map[verdict.Class]leak{verdict.NeverUsed: {verdict.NeverUsed, 5, "leak_here_never"}}
	if got := leaks(&r, "leak_never"); !sameLeaks(got, want) {
		t.Errorf("got %v, want %v\n%s", got, want, describe(&r))
	}
}

// TestSnapshot shows what is open without tracing, those too that ss(8) leaves
// out.
func TestSnapshot(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	for range rounds {
		p.Do("leak")
	}
	got := sockleak(t, "snapshot", "-o", "json", fmt.Sprint(p.PID))
	var snap struct {
		Groups []struct {
			Protocol string
			State    string
			Count    int
			Past     *struct{ Unused, Failed, Ended int }
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &snap); err != nil || got.status != 0 {
		t.Fatalf("status %d, %v: %s%s", got.status, err, got.stdout, got.stderr)
	}
	states := map[string]int{}
	for _, g := range snap.Groups {
		states[g.State] += g.Count
		if g.Past != nil {
			states["unused"] += g.Past.Unused
			states["failed"] += g.Past.Failed
			states["ended"] += g.Past.Ended
		}
	}
	// The listeners are those of set_up; ESTAB is what fills the queue.
	want := map[string]int{
		"CLOSE": 3 * rounds, "unused": rounds, "failed": rounds, "ended": rounds,
		"SYN-SENT": rounds, "CLOSE-WAIT": rounds, "ESTAB": 1, "LISTEN": 4,
	}
	if fmt.Sprint(states) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", states, want)
	}
}
