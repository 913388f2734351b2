package kerneltest

import (
	"encoding/json"
	"fmt"
	"os/exec"
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

// TestCompleteStacks: a complete stack for every class of leak, with no more than
// the capabilities that it takes. Before 5.15 there
// are none: doctor says so, --stacks deep refuses, and auto goes on with those
// walked by unwind tables and a note.
func TestCompleteStacks(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_classes")
	checkRegisters(t)
	if needs.Older(t, 5, 15) {
		incompleteStacks(t, p)
		return
	}
	refused := exec.Command(command(t), "attach", "--stacks", "deep", fmt.Sprint(p.PID))
	with(without(forStacks(t), capSyslog))(refused)
	if got := finish(t, refused); got.status != 3 || !strings.Contains(got.stderr, capSyslog.name) {
		t.Errorf("without %s: %+v", capSyslog.name, got)
	}
	k := beginAs(t, with(forStacks(t)), "attach", "--stacks", "deep", fmt.Sprint(p.PID))
	told, last := 0, time.Time{}
	r := k.until("the stacks are complete", func(r *verdict.Report) bool {
		if complete(r) {
			return true
		}
		// Until the profiler is there, which takes its time.
		if time.Since(last) > time.Second {
			p.Do("leak")
			told, last = told+1, time.Now()
		}
		return false
	})
	for class, want := range classes(told) {
		if got := leaks(r, "leak_classes")[class]; got.function != want.function {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if _, status := k.end(); status != 1 {
		t.Errorf("status %d", status)
	}
}

// complete reports whether each class has a finding whose stack goes from the
// call to the function that every program begins with.
func complete(r *verdict.Report) bool {
	found := map[verdict.Class]bool{}
	for _, f := range r.Findings {
		isMain := func(f stack.Frame) bool { return f.Function == "main" }
		if f.Origin.Quality == stack.Complete && slices.ContainsFunc(f.Origin.Frames, isMain) {
			found[f.Class] = true
		}
	}
	return len(found) == len(classes(0))
}

func incompleteStacks(t *testing.T, p *workload.Proc) {
	t.Helper()
	refused := sockleak(t, "attach", "--stacks", "deep", "--for", "1s", fmt.Sprint(p.PID))
	if refused.status != 3 || !strings.Contains(refused.stderr, "5.15") {
		t.Errorf("--stacks deep: got %+v, want status 3 and the version that it needs", refused)
	}
	r := traced(t, begin(t, "attach", "--stacks", "auto", fmt.Sprint(p.PID)), p)
	isNote := func(note string) bool {
		return strings.Contains(note, "complete stacks could not be had") && strings.Contains(note, "5.15")
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
	got := sockleak(t, "doctor", "-o", "json")
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
	if !inVM() { // fentry may be forbidden by the machine
		cannot["socket files"] = true
	}
	checks := doctor(t)
	for name, c := range checks {
		if c.Status != preflight.OK && !cannot[name] {
			t.Errorf("%+v", c)
		}
	}
	for name := range cannot {
		if c, ok := checks[name]; !ok || inVM() && c.Status == preflight.OK {
			t.Errorf("%s: doctor says %+v of what this kernel hasn't", name, c)
		}
	}
	t.Logf("took %s", time.Since(began).Round(time.Millisecond))
}
