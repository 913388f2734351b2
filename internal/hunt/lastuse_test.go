package hunt_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// used is what must be right about a last use.
type used struct {
	operation, result string
	count             int
	quality           stack.Quality
	at                string // function and line of the culprit
}

func usesOf(f *verdict.Finding) []used {
	var all []used
	for _, l := range f.LastUse {
		u := used{l.Operation, l.Result, l.Count, l.Origin.Quality, "none"}
		if c := l.Origin.Culprit; c != nil {
			frame := l.Origin.Frames[*c]
			u.at = fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		}
		all = append(all, u)
	}
	return all
}

// lastReport is an observer that keeps the last report.
type lastReport struct{ atomic.Pointer[verdict.Report] }

func (*lastReport) Progress(hunt.Progress) {}

func (l *lastReport) Interim(r *verdict.Report) error {
	l.Store(r)
	return nil
}

// wait waits until a report has what is wanted, for a minute at most.
func (l *lastReport) wait(wanted func(*verdict.Report) bool) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if r := l.Load(); r != nil && wanted(r) {
			return
		}
	}
}

// allOf reports whether one finding has all sockets.
func allOf(sockets int) func(*verdict.Report) bool {
	return func(r *verdict.Report) bool { return len(r.Findings) == 1 && r.Findings[0].Count == sockets }
}

// traceWhile traces while do runs, beside the trace, which reads what it is sent.
func traceWhile(t testing.TB, cfg hunt.Config, obs hunt.Observer, do func()) *verdict.Report {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type ended struct {
		report *verdict.Report
		err    error
	}
	attached, done := make(chan struct{}), make(chan ended, 1)
	cfg.Attached = func(bool) error { close(attached); return nil }
	go func() {
		r, err := hunt.Trace(ctx, cfg, obs)
		done <- ended{r, err}
	}()
	select {
	case <-attached:
	case e := <-done:
		t.Fatalf("ended before it was attached: %v", e.err)
	}
	do()
	cancel()
	e := <-done
	if e.err != nil {
		t.Fatal(e.err)
	}
	return e.report
}

// lastUseConfig traces one process until it is told to end.
func lastUseConfig(pid int, stacks hunt.Stacks) hunt.Config {
	cfg := config(0)
	cfg.Judgement.Patience.MinAge, cfg.Interval = time.Second, 500*time.Millisecond
	cfg.Probe.Scope.PIDs = []uint32{uint32(pid)}
	cfg.Probe.LastUse, cfg.Stacks = true, stacks
	return cfg
}

// The connections that are forgotten and those that are closed are accepted in one
// place; what tells them apart is the line where the end of file was read. Without
// frame pointers it takes unwind tables to find it, and a recording keeps it.
func TestLastUse(t *testing.T) {
	needs.Root(t)
	const each = 40
	p := workload.Start(t, workload.Build(t, "lastuse"))
	p.Ready()
	cfg := lastUseConfig(p.PID, hunt.StacksSnapshot)
	var recorded bytes.Buffer
	cfg.Record = &recorded
	var seen lastReport
	r := traceWhile(t, cfg, &seen, func() {
		p.Do(fmt.Sprintf("serve %d", each))
		seen.wait(allOf(each))
	})
	if len(r.Findings) != 1 || r.Findings[0].Class != verdict.PeerClosed || r.Findings[0].Count != each {
		t.Fatalf("findings %+v", r.Findings)
	}
	line := workload.LeakLine(t, "lastuse")
	want := []used{{"read", "end of file", each, stack.Complete, fmt.Sprintf("forget_at_end:%d", line)}}
	if got := usesOf(&r.Findings[0]); !slices.Equal(got, want) {
		t.Errorf("last use %+v, want %+v", got, want)
	}
	if o := r.Findings[0].Origin; o.Culprit == nil || o.Frames[*o.Culprit].Function != "tcp_accept" && o.Frames[*o.Culprit].Function != "server" {
		t.Errorf("accepted at %+v", o)
	}
	checkReplay(t, recorded.Bytes(), r)
}

// Past the budget of stacks the uses are still counted to the last, and have the line
// of those that were walked; the sockets' own stacks lose nothing by it.
func TestLastUseRate(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes minutes on an emulated CPU")
	}
	const each = 3000
	p := workload.Start(t, workload.Build(t, "lastuse"))
	p.Ready()
	cfg := lastUseConfig(p.PID, hunt.StacksSnapshot)
	cfg.Probe.RingSize, cfg.Probe.StackRate = 32<<20, 50
	var seen lastReport
	r := traceWhile(t, cfg, &seen, func() {
		p.Do(fmt.Sprintf("serve %d", each))
		seen.wait(allOf(each))
	})
	if len(r.Findings) != 1 || r.Findings[0].Count != each {
		t.Fatalf("findings %+v", r.Findings)
	}
	f := &r.Findings[0]
	line := workload.LeakLine(t, "lastuse")
	want := []used{{"read", "end of file", each, stack.Complete, fmt.Sprintf("forget_at_end:%d", line)}}
	if got := usesOf(f); !slices.Equal(got, want) || !f.LastUse[0].Origin.Inferred {
		t.Errorf("last use %+v, want %+v, inferred; lost %+v", got, want, r.Loss)
	}
}

// Python's own lines come from the tier of complete stacks, from when on the profiler
// knows the interpreter.
func TestLastUsePython(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes half a minute: the tier of complete stacks has to come up")
	}
	const each = 20
	python, script := workload.Script(t, "/usr/bin/python3", "lastuse.py")
	p := workload.Start(t, python, script)
	p.Ready()
	cfg := lastUseConfig(p.PID, hunt.StacksDeep)
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), "# LEAK")
	want := used{operation: "read", result: "end of file", quality: stack.Complete,
		at: fmt.Sprintf("forget_at_end:%d", strings.Count(before, "\n")+1)}
	// count is how many of the leaked have the use that is wanted.
	count := func(r *verdict.Report) int {
		if r == nil || len(r.Findings) != 1 {
			return 0
		}
		for _, u := range usesOf(&r.Findings[0]) {
			n := u.count
			if u.count = 0; u == want {
				return n
			}
		}
		return 0
	}
	var seen lastReport
	learnt := 0
	r := traceWhile(t, cfg, &seen, func() {
		for end := time.Now().Add(time.Minute); learnt == 0 && time.Now().Before(end); time.Sleep(cfg.Interval) {
			p.Do("serve 1")
			learnt = count(seen.Load())
		}
		p.Do(fmt.Sprintf("serve %d", each))
		seen.wait(func(r *verdict.Report) bool { return count(r) >= learnt+each })
	})
	if len(r.Findings) != 1 {
		t.Fatalf("findings %+v", r.Findings)
	}
	if got := count(r); learnt == 0 || got < learnt+each {
		t.Errorf("%d of %+v after %d; all: %+v; notes %q", got, want, learnt, usesOf(&r.Findings[0]), r.Notes)
	}
}
