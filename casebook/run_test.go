package casebook

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/verdict"
)

// options are the flags of the tests.
type options struct {
	run, write bool
	reports    string
	match      string
}

// The flags of a test binary must be there before it parses them.
var flags = func() *options {
	o := &options{}
	flag.BoolVar(&o.run, "casebook", false, "run the programs: takes minutes")
	flag.BoolVar(&o.write, "write", false, "write docs/casebook.md from what was found")
	flag.StringVar(&o.reports, "reports", "", "save the text reports of the stories in this `folder`")
	flag.StringVar(&o.match, "case", "", "run only cases whose name contains `text`")
	return o
}()

// onDemand skips a test that runs the programs, unless it was asked for.
func onDemand(t *testing.T) {
	t.Helper()
	if !flags.run {
		t.Skip("takes minutes: run make casebook")
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root to trace and to make network namespaces: run it with sudo")
	}
}

// cast starts the programs of the cases, all at once untraced.
func cast(t *testing.T, cases []Case) []*Program {
	t.Helper()
	var programs []*Program
	for i := range cases {
		c := &cases[i]
		if !strings.Contains(c.Name, flags.match) {
			continue
		}
		if tool := c.missing(t); tool != "" {
			leaveOut(t, c, "needs "+tool+"; run scripts/setup.sh casebook")
			continue
		}
		p := start(t, c)
		if p.refused != "" {
			if major, minor := c.Linux[0], c.Linux[1]; needs.Older(t, major, minor) {
				t.Logf("LEFT OUT %s: %s, which came with Linux %d.%d: this is %s", c.Name, p.refused, major, minor, needs.Release(t))
				continue
			}
			leaveOut(t, c, p.refused)
			continue
		}
		programs = append(programs, p)
	}
	return programs
}

// leaveOut says that a case can't run here for a reason that the machine's owner can
// change; in CI it fails.
func leaveOut(t testing.TB, c *Case, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s can't run, and CI is set: %s", c.Name, why)
	}
	t.Logf("LEFT OUT %s: %s", c.Name, why)
}

// pids are the arguments that name the programs, with those of their processes
// that run the same file: what pidof(1) would find.
func pids(t testing.TB, programs []*Program) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatalf("list processes: %v", err)
	}
	var args []string
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatalf("list processes: %v", err)
		}
		group, err := syscall.Getpgid(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		if slices.ContainsFunc(programs, func(p *Program) bool { return p.PID == group && sameFile(p.PID, pid) }) {
			args = append(args, strconv.Itoa(pid))
		}
	}
	return args
}

// sameFile says whether two processes run the same file. One that has ended
// runs none.
func sameFile(a, b int) bool {
	fileOf := func(pid int) string {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return ""
		}
		return exe
	}
	return fileOf(a) != "" && fileOf(a) == fileOf(b)
}

// result is what became of one case.
type result struct {
	program *Program
	last    []verdict.Finding
	// found is when the class, count, peers and states were first right, named
	// when the origin was too; since tracing began. Negative: never.
	found, named time.Duration
	// lacked is what was not right yet in the report before that.
	lacked   []string
	accused  bool // wrongly, in an interim report
	problems []string
}

// examine holds all reports of a run against the cases of the programs. An
// interim report may not have everything yet, but must not accuse wrongly.
func examine(t *testing.T, programs []*Program, reports []arrival) []result {
	t.Helper()
	results := make([]result, len(programs))
	for i, p := range programs {
		results[i] = result{program: p, found: -1, named: -1}
		if err := p.alive(); err != nil {
			results[i].problems = append(results[i].problems, err.Error())
		}
	}
	for n := range reports {
		r := &reports[n]
		for i, p := range programs {
			known, err := factOf(p, &r.report)
			if err != nil {
				t.Fatalf("%s: %v", p.Case.Name, err)
			}
			got, last := findingsOf(programs, p, &r.report), n == len(reports)-1
			results[i].take(judge(p.Case, got, known), r, last)
			if last && p.Case.canRest() && !known.exact() {
				results[i].problems = append(results[i].problems, fmt.Sprintf("was not stopped %s before the end: count %v", rest, known.counts))
			}
			results[i].last = got
		}
	}
	return results
}

func findingsOf(programs []*Program, p *Program, r *verdict.Report) []verdict.Finding {
	var got []verdict.Finding
	for i := range r.Findings {
		if owner(programs, &r.Findings[i]) == p {
			got = append(got, r.Findings[i])
		}
	}
	return got
}

// take notes what one report says.
func (r *result) take(j judgement, a *arrival, last bool) {
	since := a.at.Sub(a.report.Started)
	if r.found < 0 && len(j.accusations)+len(j.missing) > 0 {
		r.lacked = j.missing
	}
	if len(r.program.Case.Want) > 0 && len(j.accusations)+len(j.missing) == 0 {
		if r.found < 0 {
			r.found = since
		}
		if r.named < 0 && len(j.origins) == 0 {
			r.named = since
		}
	}
	if last {
		r.problems = append(r.problems, j.all()...)
		return
	}
	// One is enough: it stays in the reports after that, with another count.
	if len(j.accusations) > 0 && !r.accused {
		r.accused = true
		r.problems = append(r.problems, fmt.Sprintf("after %.0f s: %s", since.Seconds(), strings.Join(j.accusations, ", ")))
	}
}

// What a story's first correct finding may take besides --min-age, where its rule
// needs no longer.
const (
	// aim is what sockleak promises: a look may have to wait for the next.
	aim = 2 * time.Second
	// interval is the default of --interval. The condition may begin just after a
	// look: a socket that is leaked while traced is suspected one later.
	interval = 2 * time.Second
	// unwinding is how long the stacks may not be complete yet: the tables for
	// them are made of all that the programs have mapped, with libssl on a slow
	// machine, beside the looks. 2.5 s at most on two busy CPUs.
	unwinding = 5 * time.Second
)

// late says that a case was found later than it should have been, with its origin;
// empty: it wasn't. What was never found is for judge to say.
func (r *result) late(minAge time.Duration) string {
	wants := r.program.Case.Want
	slow := func(w Want) bool { return w.Lag > 0 || byHistory(w.Class) }
	bound := minAge + aim + interval + unwinding
	if len(wants) == 0 || slices.ContainsFunc(wants, slow) || r.named <= bound {
		return ""
	}
	return fmt.Sprintf("first correct finding with its origin after %s, want %s at most", after(r.named), after(bound))
}

// tell fails the test with what is wrong, and logs when the case was found.
func (r *result) tell(t *testing.T) {
	t.Helper()
	name := r.program.Case.Name
	for _, p := range r.problems {
		t.Errorf("%s: %s", name, p)
	}
	if len(r.program.Case.Want) > 0 {
		t.Logf("%s: first correct finding after %s, with its origin after %s; before it: %s",
			name, after(r.found), after(r.named), strings.Join(r.lacked, ", "))
	}
}

// after writes a time since tracing began.
func after(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
