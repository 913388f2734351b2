package kerneltest

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/preflight"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// TestCompleteStacks: a complete stack for every class of leak, and for who asked an
// event loop for a socket, with no more than the capabilities that it takes. Before
// 5.15 there are none: doctor says so, --stacks deep refuses, and auto goes on with
// those walked by unwind tables and a note. From 6.16 on who asked takes CAP_SYS_ADMIN:
// see TestLeastForStacks.
func TestCompleteStacks(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	checkRegisters(t)
	if needs.Older(t, 5, 15) {
		incompleteStacks(t, p)
		return
	}
	if needs.Virtual() && needs.Older(t, 6, 16) {
		permit(t) // or Debian's setting would take CAP_SYS_ADMIN
	}
	refused := exec.Command(command(t), "attach", "--stacks", "deep", fmt.Sprint(p.PID))
	with(without(forStacks(t), capSyslog))(refused)
	if got := finish(t, refused); got.status != 3 || !strings.Contains(got.stderr, capSyslog.name) {
		t.Errorf("without %s: %+v", capSyslog.name, got)
	}
	loop := program(t, "leak_asked")
	var askers []string
	if uprobes(t, forStacks(t)).Status == preflight.OK { // see TestUprobePrivilege
		askers = []string{"ask_here_first", "ask_here_second"}
	}
	k := beginAs(t, with(forStacks(t)), "attach", "--stacks", "deep", fmt.Sprint(p.PID), fmt.Sprint(loop.PID))
	last := time.Time{}
	k.until("the profiler is there", func(r *verdict.Report) bool {
		if askers == nil && walked(r, "leak_asked") || askers != nil && slices.Equal(asking(r), askers) {
			return true
		}
		if time.Since(last) > time.Second {
			loop.Do("leak")
			last = time.Now()
		}
		return false
	})
	// Not before: what is told again and again grows, which is another class.
	p.Do(fmt.Sprint("leak ", rounds))
	r := k.until("the stacks are complete", complete)
	// The kernel gives up what was pending for two minutes.
	want := append(classes(rounds), leak{verdict.ConnectFailed, 0, "leak_here_pending"})
	for _, l := range leaks(r, "leak_classes") {
		if !slices.ContainsFunc(want, func(w leak) bool { return l.class == w.class && l.function == w.function }) {
			t.Errorf("got %v, want of %v", l, want)
		}
	}
	if _, status := k.end(); status != 1 {
		t.Errorf("status %d", status)
	}
}

// TestUnwoundStacks: complete stacks by unwind tables, on every kernel, of programs
// in whose stacks nothing else finds the way: they have no frame pointers.
func TestUnwoundStacks(t *testing.T) {
	needs.Root(t)
	if c := doctor(t)["stacks, tier 2"]; c.Status != preflight.OK {
		t.Errorf("%+v", c)
	}
	p := ready(t, workload.BuildBare(t, "leak_classes"))
	r := traced(t, begin(t, "attach", "--stacks", "snapshot", fmt.Sprint(p.PID)), p)
	if !complete(r) {
		t.Errorf("not all stacks are complete:\n%s", describe(r))
	}
}

// walked reports whether a program has a finding with a complete stack.
func walked(r *verdict.Report, comm string) bool {
	return slices.ContainsFunc(r.Findings, func(f verdict.Finding) bool {
		return f.Process.Comm == comm && f.Origin.Quality == stack.Complete
	})
}

// complete reports whether each leak of leak_classes has a finding whose stack goes
// from the call to the function that every program begins with.
func complete(r *verdict.Report) bool {
	found := map[string]bool{}
	for _, f := range r.Findings {
		isMain := func(f stack.Frame) bool { return f.Function == "main" }
		if f.Origin.Quality == stack.Complete && slices.ContainsFunc(f.Origin.Frames, isMain) {
			found[leaking(&f)] = true
		}
	}
	return !slices.ContainsFunc(classes(0), func(l leak) bool { return !found[l.function] })
}

// asking are the functions of leak_asked that asked for sockets which are leaked, and
// which the loop made.
func asking(r *verdict.Report) []string {
	var found []string
	for _, f := range r.Findings {
		if f.RequestedAt == nil || f.RequestedAt.Via != verdict.ViaLibuv || leaking(&f) != "leak_here_turn" {
			continue
		}
		for _, frame := range f.RequestedAt.Frames {
			if strings.HasPrefix(frame.Function, "ask_here_") {
				found = append(found, frame.Function)
			}
		}
	}
	slices.Sort(found)
	return found
}

func incompleteStacks(t *testing.T, p *workload.Proc) {
	t.Helper()
	refused := sockleak(t, "attach", "--stacks", "deep", "--for", "1s", fmt.Sprint(p.PID))
	if refused.status != 3 || !strings.Contains(refused.stderr, "5.15") {
		t.Errorf("--stacks deep: got %+v, want status 3 and the version that it needs", refused)
	}
	r := traced(t, begin(t, "attach", "--stacks", "auto", fmt.Sprint(p.PID)), p)
	isNote := func(note string) bool {
		return strings.Contains(note, "frames of Python, Node, Java and Ruby could not be had") && strings.Contains(note, "5.15")
	}
	if !slices.ContainsFunc(r.Notes, isNote) {
		t.Errorf("no note that says why no stack is complete: %q", r.Notes)
	}
}

// checkRegisters: doctor knows whether complete stacks can be had.
func checkRegisters(t *testing.T) {
	t.Helper()
	c := doctor(t)["user registers"]
	want := preflight.OK
	if needs.Older(t, 5, 15) {
		want = preflight.Degraded
	}
	if c.Status != want || want != preflight.OK && !strings.Contains(c.Remedy, "5.15") {
		t.Errorf("doctor says %+v, want %s", c, want)
	}
}

// doctor is what doctor says, by the name of the requirement.
func doctor(t *testing.T) map[string]preflight.Check {
	t.Helper()
	return checksOf(t, sockleak(t, "doctor", "-o", "json"))
}

func checksOf(t *testing.T, got outcome) map[string]preflight.Check {
	t.Helper()
	var checks []preflight.Check
	if err := json.Unmarshal([]byte(got.stdout), &checks); err != nil {
		t.Fatalf("doctor: %v: %+v", err, got)
	}
	found := map[string]preflight.Check{}
	for _, c := range checks {
		found[c.Name] = c
	}
	return found
}

// TestDoctor: nothing is missing but what this kernel can't have, and that is named.
func TestDoctor(t *testing.T) {
	needs.Root(t)
	began := time.Now()
	cannot := map[string]bool{}
	if needs.Older(t, 5, 15) { // bpf_task_pt_regs
		cannot["user registers"] = true
		cannot["stacks, tier 1"] = true
	}
	if !needs.Virtual() { // fentry may be forbidden by the machine
		cannot["socket files"] = true
	}
	checks := doctor(t)
	for name, c := range checks {
		if c.Status != preflight.OK && !cannot[name] {
			t.Errorf("%+v", c)
		}
	}
	by := "by fentry"
	if runtime.GOARCH == "arm64" && needs.Older(t, 6, 4) {
		by = "by kprobe" // its functions could not be attached to otherwise yet
	}
	if c := checks["socket files"]; c.Status == preflight.OK && !strings.HasSuffix(c.Detail, by) {
		t.Errorf("doctor says %q, want %s", c.Detail, by)
	}
	for name := range cannot {
		if c, ok := checks[name]; !ok || needs.Virtual() && c.Status == preflight.OK {
			t.Errorf("%s: doctor says %+v of what this kernel hasn't", name, c)
		}
	}
	t.Logf("took %s", time.Since(began).Round(time.Millisecond))
}
