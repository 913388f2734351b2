package hunt_test

import (
	"bytes"
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
