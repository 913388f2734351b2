package hunt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// quiet is an observer that only keeps the trace going.
type quiet struct{}

func (quiet) Progress(hunt.Progress)        {}
func (quiet) Interim(*verdict.Report) error { return nil }

// checkReplay compares the findings that a recording gives with those of the trace that
// it was made in.
func checkReplay(t *testing.T, recording []byte, r *verdict.Report) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording")
	if err := os.WriteFile(path, recording, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := hunt.Replay(path, hunt.RecordedTop, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Findings, r.Findings) {
		t.Errorf("replayed %+v\nwant %+v", again.Findings, r.Findings)
	}
}

// config is what the command line's defaults are, for the duration given.
func config(d time.Duration) hunt.Config {
	return hunt.Config{
		Probe:     probe.Config{RingSize: 8 << 20, MaxSockets: 131072, Stacks: true},
		Judgement: hunt.Judgement{Patience: verdict.Patience{MinAge: verdict.DefaultMinAge, Idle: verdict.DefaultIdle}},
		For:       d,
		Interval:  2 * time.Second,
		Version:   "test",
	}
}

func trace(t *testing.T, ctx context.Context, cfg hunt.Config) *verdict.Report {
	t.Helper()
	r, err := hunt.Trace(ctx, cfg, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found is what must be right about a finding: whose, what, where.
type found struct {
	comm   string
	class  verdict.Class
	origin string // function file:line of the culprit
}

func summary(f verdict.Finding) found {
	s := found{comm: f.Process.Comm, class: f.Class, origin: "none"}
	if f.Origin.Culprit != nil {
		c := f.Origin.Frames[*f.Origin.Culprit]
		s.origin = fmt.Sprintf("%s %s:%d", c.Function, filepath.Base(c.File), c.Line)
	}
	return s
}

func leaker(t *testing.T, name string, class verdict.Class) (string, found) {
	short := strings.TrimPrefix(name, "leak_")
	return name, found{
		comm: name, class: class,
		origin: fmt.Sprintf("leak_here_%s %s.c:%d", short, name, workload.LeakLine(t, name)),
	}
}

// asJSON is a report in full.
func asJSON(r *verdict.Report) []byte {
	text, _ := json.MarshalIndent(r, "", " ") // has no values that can't be written
	return text
}

// TestHunt: three programs leak, each in its way, beside five that use sockets
// well; the hunt over the whole system finds the three and no more.
func TestHunt(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes a minute")
	}
	var want []found
	for name, class := range map[string]verdict.Class{
		"leak_never": verdict.NeverUsed, "leak_refused": verdict.ConnectFailed, "leak_closewait": verdict.PeerClosed,
	} {
		program, finding := leaker(t, name, class)
		workload.Start(t, workload.Build(t, program)).Ready()
		want = append(want, finding)
	}
	for _, name := range []string{"ok_keepalive", "ok_pool", "ok_longpoll", "ok_listener", "ok_churn"} {
		workload.Start(t, workload.Build(t, name)).Ready()
	}
	r := trace(t, t.Context(), config(60*time.Second))
	var got []found
	for _, f := range r.Findings {
		got = append(got, summary(f))
		if f.Count < 100 {
			t.Errorf("%s: %d sockets after a minute of two a second", f.Process.Comm, f.Count)
		}
	}
	compareFound(t, got, want)
	if r.Verdict != verdict.Leak {
		t.Errorf("verdict %q", r.Verdict)
	}
	// Two thousand connections a second, two sockets each.
	if r.Totals.Opened < 60*2*1000 {
		t.Errorf("only %d sockets opened: the churn was not seen", r.Totals.Opened)
	}
	if lost := r.Loss.Events(); lost != 0 {
		t.Errorf("%d events lost with the default ring: %+v", lost, r.Loss)
	}
	t.Logf("%+v %+v", r.Totals, r.Loss)
}

func compareFound(t *testing.T, got, want []found) {
	t.Helper()
	order := func(a, b found) int { return strings.Compare(a.comm, b.comm) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		t.Errorf("findings\n got %v\nwant %v", got, want)
	}
}

// TestPreexisting: a thousand sockets leaked before the attach are all reported,
// without a stack; one more, and all have an origin.
func TestPreexisting(t *testing.T) {
	needs.Root(t)
	const before = 1000
	for name, class := range map[string]verdict.Class{
		"leak_never": verdict.NeverUsed, "leak_refused": verdict.ConnectFailed, "leak_closewait": verdict.PeerClosed,
	} {
		t.Run(name, func(t *testing.T) {
			program, want := leaker(t, name, class)
			p := workload.Start(t, workload.Build(t, program), "--pre", fmt.Sprint(before), "--then-on-command")
			p.Ready()
			cfg := config(3 * time.Second)
			cfg.Judgement.Patience.MinAge, cfg.Interval = time.Second, 500*time.Millisecond
			cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}

			r := trace(t, t.Context(), cfg)
			if len(r.Findings) != 1 || r.Findings[0].Count != before || r.Findings[0].Class != class {
				t.Fatalf("before: %v", r.Findings)
			}
			f := r.Findings[0]
			if f.Origin.Quality != "none" || f.OldestAge != nil || f.Origin.Inferred {
				t.Errorf("before: origin %+v, oldest age %v", f.Origin, f.OldestAge)
			}

			cfg.Ready = func() error { p.Do("one"); return nil }
			r = trace(t, t.Context(), cfg)
			if len(r.Findings) != 1 || r.Findings[0].Count != before+1 {
				t.Fatalf("one more: %v", r.Findings)
			}
			f = r.Findings[0]
			if got := summary(f); got != want || !f.Origin.Inferred {
				t.Errorf("one more: got %v, inferred %v, want %v", got, f.Origin.Inferred, want)
			}
			if f.YoungestAge == nil || f.OldestAge != nil {
				t.Errorf("ages: youngest %v, oldest %v", f.YoungestAge, f.OldestAge)
			}
		})
	}
}

// TestForkedDuringAttach: what is made and handed to a child after the hooks are there,
// and before the first look at the kernel's tables, is no less known than later.
func TestForkedDuringAttach(t *testing.T) {
	needs.Root(t)
	program, want := leaker(t, "leak_inherited", verdict.Inherited)
	p := workload.Start(t, workload.Build(t, program))
	p.Ready()
	for scope, s := range map[string]probe.Scope{
		"the process": {PIDs: []uint32{uint32(p.PID)}, Children: true}, "everything of its name": {Comms: []string{want.comm}},
	} {
		t.Run(scope, func(t *testing.T) {
			cfg := config(2 * time.Second)
			cfg.Judgement.Patience.MinAge, cfg.Interval = time.Second, 500*time.Millisecond
			cfg.Probe.Scope = s
			var got []found
			for _, f := range trace(t, t.Context(), cfg).Findings {
				if f.Origin.Quality == stack.None {
					continue // made before the attach, or in its midst: who made it is not known
				}
				got = append(got, summary(f))
			}
			compareFound(t, got, []found{want})
		})
	}
}

// TestLoss: with a ring of one page, a churn overruns it. The losses are counted,
// the table is repaired, and nothing is accused that is not leaked.
func TestLoss(t *testing.T) {
	needs.Root(t)
	churn := workload.Start(t, workload.Build(t, "ok_churn"))
	churn.Ready()
	program, want := leaker(t, "leak_never", verdict.NeverUsed)
	p := workload.Start(t, workload.Build(t, program))
	p.Ready()
	cfg := config(8 * time.Second)
	cfg.Probe.RingSize = 1
	cfg.Probe.Scope.PIDs = []uint32{uint32(churn.PID), uint32(p.PID)}
	cfg.Judgement.Patience.MinAge, cfg.Interval = time.Second, 500*time.Millisecond
	// It leaks one every half second; what it has at the last look it has for some time.
	cfg.Ready = func() error {
		time.AfterFunc(cfg.For/2, func() {
			if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
				t.Error(err)
			}
		})
		return nil
	}
	r := trace(t, t.Context(), cfg)
	if r.Loss.RingFull == 0 || r.Loss.Reconciles < 3 || r.Loss.Repaired == 0 {
		t.Errorf("loss %+v", r.Loss)
	}
	if len(r.Findings) != 1 || r.Findings[0].Process.Comm != want.comm || r.Findings[0].Class != want.class {
		for _, f := range r.Findings {
			t.Errorf("finding %v: %d, %v", summary(f), f.Count, f.Evidence)
		}
		t.Fatalf("%d findings, want one %v", len(r.Findings), want)
	}
	sockets, err := workload.Sockets(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	// Its healthy traffic: a listener, both ends of a connection, and up to three ends of
	// the one that comes and the one that goes.
	if n, leaked := r.Findings[0].Count, len(sockets)-3; n > leaked || n < leaked-3 {
		t.Errorf("%d sockets reported, %d are open, %d to %d of them leaked", n, len(sockets), leaked-3, leaked)
	}
	t.Logf("%+v", r.Loss)
}

// A command is watched from when it begins, not from when sockleak did: what stacks in
// every language take to come up is no time in which it leaked nothing.
func TestCommandBegins(t *testing.T) {
	needs.Root(t)
	cfg := config(0)
	cfg.Stacks, cfg.Command = hunt.StacksAuto, "sleep"
	p := exec.Command("sleep", "60")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.Process.Pid)}
	var began time.Time
	cfg.Ready = func() error {
		began = time.Now()
		return p.Process.Kill()
	}
	done := make(chan error, 1)
	go func() { done <- p.Wait() }()
	r, err := hunt.Trace(t.Context(), cfg, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	<-done                                  // killed: that is its status
	const snapshot = 500 * time.Millisecond // comes before, and takes some
	if most := time.Since(began) + snapshot; r.Duration > most.Seconds() {
		t.Errorf("traced for %.1f s, and the command began %s ago", r.Duration, time.Since(began))
	}
}
