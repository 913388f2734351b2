package kerneltest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/docs"
	"sockleak/internal/explain"
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

// leaks are those of a program, by class and function.
func leaks(r *verdict.Report, comm string) []leak {
	counts := map[leak]int{}
	for _, f := range r.Findings {
		if f.Process.Comm != comm {
			continue
		}
		counts[leak{class: f.Class, function: leaking(&f)}] += f.Count
	}
	var found []leak
	for l, n := range counts {
		found = append(found, leak{l.class, n, l.function})
	}
	return sorted(found)
}

// leaking is the function of a program that a finding leads to.
func leaking(f *verdict.Finding) string {
	function := "none"
	for _, frame := range f.Origin.Frames {
		if strings.HasPrefix(frame.Function, "leak_here_") {
			function = frame.Function
		}
	}
	return function
}

func sorted(all []leak) []leak {
	slices.SortFunc(all, func(a, b leak) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.function, b.function))
	})
	return all
}

// difference is what is missing in a report, and what is not wanted there.
func difference(got, want []leak) string {
	less := func(a, b []leak) []leak {
		return slices.DeleteFunc(slices.Clone(a), func(l leak) bool { return slices.Contains(b, l) })
	}
	if slices.Equal(got, want) {
		return ""
	}
	return fmt.Sprintf("got %v, want %v", less(got, want), less(want, got))
}

// classes is what leak_classes leaks when it was told to so often.
func classes(rounds int) []leak {
	return sorted([]leak{
		{verdict.NeverUsed, rounds, "leak_here_never"},
		{verdict.ConnectFailed, rounds, "leak_here_refused"},
		{verdict.ConnectPending, rounds, "leak_here_pending"},
		{verdict.PeerClosed, rounds, "leak_here_closewait"},
		{verdict.PeerClosed, rounds, "leak_here_peergone"},
		{verdict.Dead, rounds, "leak_here_reset"},
		{verdict.Dead, rounds, "leak_here_disconnected"},
		{verdict.Inherited, rounds, "leak_here_inherited"},
		{verdict.HalfClosed, rounds, "leak_here_halfclosed"},
		{verdict.HalfOpen, rounds, "leak_here_halfopen"},
		{verdict.HalfOpen, rounds, "leak_here_unanswered"},
		{verdict.Abandoned, rounds, "leak_here_unread"},
		{verdict.Superseded, rounds, "leak_here_superseded"},
	})
}

// grown is what it leaks when it was told to grow so often.
func grown(rounds int) []leak {
	return sorted([]leak{
		{verdict.Growing, rounds, "leak_here_growing"},
		{verdict.Abandoned, rounds, "leak_here_kept"},
	})
}

// rounds is how often the programs are told to leak.
const rounds = 4

// traced leaks in every way while the command traces, and returns the last
// report, in which all of it was found, and nothing lost but what the kernel itself
// leaves out of its tracepoints: see (5) of docs/kernels.md.
func traced(t *testing.T, k *tracing, p *workload.Proc) *verdict.Report {
	t.Helper()
	p.Do(fmt.Sprint("leak ", rounds))
	want := classes(rounds)
	found := k.untilRight("all leaks are found", func(r *verdict.Report) string { return difference(leaks(r, "leak_classes"), want) })
	r, status := k.end()
	if got := leaks(r, "leak_classes"); !slices.Equal(got, want) || r.Verdict != verdict.Leak || status != 1 {
		t.Errorf("at the end, with status %d:\n got %v\nwant %v\n%s\nbefore that:\n%s", status, got, want, describe(r), describe(found))
	}
	lost := r.Loss
	if most := r.Totals.Opened / 20; !needs.Older(t, 6, 19) && lost.ProbeSkipped <= most {
		lost.ProbeSkipped = 0
	}
	if lost.Events() != 0 {
		t.Errorf("of %d sockets lost %+v", r.Totals.Opened, r.Loss)
	}
	return r
}

// TestAttach finds the leaks of every class that one socket alone can show, in a
// running program, each with the function that made it, by frame pointers, and with
// its evidence.
func TestAttach(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	r := traced(t, begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID)), p)
	for _, f := range r.Findings {
		if f.Origin.Quality != stack.Partial {
			t.Errorf("the stack of %s is %s: this is the tier by frame pointers", f.Class, f.Origin.Quality)
		}
	}
	checkEvidence(t, r)
}

// TestGrowth finds those that only their number shows.
func TestGrowth(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID))
	told, last := 0, time.Time{}
	found := func(r *verdict.Report) bool { return slices.Equal(leaks(r, "leak_classes"), grown(told)) }
	k.until("the growth is found", func(r *verdict.Report) bool {
		if time.Since(last) < time.Second {
			return false // so long that nothing has come on the last ones for a while
		}
		if found(r) {
			return true
		}
		p.Do("grow")
		told, last = told+1, time.Now()
		return false
	})
	r, status := k.end()
	if !found(r) || status != 1 {
		t.Errorf("status %d, want %v\n%s", status, grown(told), describe(r))
	}
	checkEvidence(t, r)
}

// TestClasses: no class is left out of the two tests above. What findings.md has a
// rule for is a class.
func TestClasses(t *testing.T) {
	topics, err := explain.Topics(docs.Findings())
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, topic := range topics {
		if slices.ContainsFunc(topic.Blocks, func(b explain.Block) bool { return b.Lead == "Rule." }) {
			want = append(want, topic.Name)
		}
	}
	for _, l := range slices.Concat(classes(1), grown(1)) {
		got = append(got, string(l.class))
	}
	slices.Sort(want)
	slices.Sort(got)
	if got := slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("programs leak %q, the classes are %q", got, want)
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
	want := []leak{{verdict.NeverUsed, 5, "leak_here_never"}}
	if got := leaks(&r, "leak_never"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v\n%s", got, want, describe(&r))
	}
}

// TestSnapshot shows what is open without tracing, those too that ss(8) leaves
// out.
func TestSnapshot(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	p.Do(fmt.Sprint("leak ", rounds))
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
	// The listeners are those of set_up. ESTAB is what fills the queue, and each
	// time both ends of what is half-open, unanswered and unread, the one end that
	// there is of AF_UNIX, and a device's old and new connection.
	want := map[string]int{
		"CLOSE": 4 * rounds, "unused": rounds, "failed": rounds, "ended": 2 * rounds,
		"SYN-SENT": rounds, "CLOSE-WAIT": rounds, "FIN-WAIT-2": rounds, "ESTAB": 1 + (2+2+2+1+4)*rounds, "LISTEN": 8,
	}
	if fmt.Sprint(states) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", states, want)
	}
}
