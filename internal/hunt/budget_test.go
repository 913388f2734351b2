package hunt_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// What leaks while far more sockets are made than stacks are taken is counted to
// the last, and has the origin of those that do have one.
func TestStackRate(t *testing.T) {
	needs.Root(t)
	p := workload.Start(t, workload.Build(t, "rates"))
	p.Ready()
	cfg := config(6 * time.Second)
	cfg.Judgement.Patience.MinAge = time.Second
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	cfg.Probe.RingSize = 32 << 20
	cfg.Probe.StackRate = 5
	cfg.Stacks = hunt.StacksFP
	cfg.Ready = func() error {
		p.Do("leak 20000")
		return nil
	}
	r := trace(t, context.Background(), cfg)
	if len(r.Findings) != 1 {
		for _, f := range r.Findings {
			t.Errorf("%d %s, %s: %q", f.Count, f.Class, f.Origin.Reason, f.Evidence)
		}
		t.Fatalf("%d findings, want one", len(r.Findings))
	}
	f := r.Findings[0]
	culprit := "none"
	if f.Origin.Culprit != nil {
		culprit = f.Origin.Frames[*f.Origin.Culprit+1].Function
	}
	if f.Class != verdict.NeverUsed || f.Count != 200 || culprit != "leak_here_rates" || !f.Origin.Inferred || r.Totals.Opened != 20_200 {
		t.Errorf("%s, %d, %s, inferred %v, %d opened", f.Class, f.Count, culprit, f.Origin.Inferred, r.Totals.Opened)
	}
	const evidence = "stack left out by --stack-rate; the origin is that"
	if !slices.ContainsFunc(f.Evidence, func(s string) bool { return strings.Contains(s, evidence) }) {
		t.Errorf("no %q in %q", evidence, f.Evidence)
	}
	const note = "of 20,200 sockets were made without their stack being taken"
	if !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, note) }) {
		t.Errorf("no %q in %q", note, r.Notes)
	}
	t.Logf("%q %q", f.Evidence, r.Notes)
}
