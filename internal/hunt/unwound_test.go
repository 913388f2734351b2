package hunt_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// A socket has the stack that was walked by unwind tables in the report, and in the
// report that a recording gives.
func TestWalkedStacks(t *testing.T) {
	needs.Root(t)
	program, want := leaker(t, "leak_never", verdict.NeverUsed)
	p := workload.Start(t, workload.Build(t, program))
	p.Ready()
	cfg := config(3 * time.Second)
	cfg.Stacks, cfg.Judgement.Patience.MinAge = hunt.StacksSnapshot, time.Second
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	var recorded bytes.Buffer
	cfg.Record = &recorded
	r := trace(t, t.Context(), cfg)
	if len(r.Findings) != 1 || summary(r.Findings[0]) != want {
		t.Fatalf("got %+v, want %+v", r.Findings, want)
	}
	if o := r.Findings[0].Origin; o.Quality != stack.Complete || o.Frames[len(o.Frames)-1].Function != "_start" {
		t.Errorf("origin %+v", o)
	}
	checkReplay(t, recorded.Bytes(), r)
}

// Without stacks a leak is found all the same, with what was there before, and the report
// says why no line is named and promises none.
func TestStacksOff(t *testing.T) {
	needs.Root(t)
	p := workload.Start(t, workload.Build(t, "leak_never"), "--pre", "3")
	p.Ready()
	cfg := config(4 * time.Second)
	cfg.Stacks, cfg.Probe.Stacks, cfg.Judgement.Patience.MinAge = hunt.StacksOff, false, time.Second
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	var recorded bytes.Buffer
	cfg.Record = &recorded
	r := trace(t, t.Context(), cfg)
	if len(r.Findings) != 1 {
		t.Fatalf("%d findings, want one:\n%s", len(r.Findings), asJSON(r))
	}
	want := verdict.Origin{Quality: stack.None, Reason: "no stacks are taken (--stacks off)", Frames: []stack.Frame{}}
	if f := r.Findings[0]; f.Class != verdict.NeverUsed || f.Count < 5 || !reflect.DeepEqual(f.Origin, want) ||
		strings.Contains(strings.Join(f.Evidence, "\n"), "will be named") {
		t.Errorf("want never-used, 5 sockets or more, from %+v; got:\n%s", want, asJSON(r))
	}
	checkReplay(t, recorded.Bytes(), r)
}
