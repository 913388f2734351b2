package hunt_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// askers is a program of package asked's that says of each socket which function
// asked for it.
type askers struct {
	source string // its path
	via    verdict.Via
	// functions that ask, and how the source defines them
	functions map[string]string
}

// dial has the program connect, and adds to its log: inode number to function.
func (a *askers) dial(t *testing.T, p *workload.Proc, log map[uint64]string) {
	t.Helper()
	for line := p.Send("go"); line != "done"; line = p.Line() {
		inode, who, _ := strings.Cut(line, " ")
		n, err := strconv.ParseUint(inode, 10, 64)
		if _, known := a.functions[who]; err != nil || !known {
			t.Fatalf("%s wrote %q", a.source, line)
		}
		log[n] = who
	}
}

// places are where its functions ask, as places has them.
func (a *askers) places(t *testing.T) (list []string) {
	t.Helper()
	for who, text := range a.functions {
		line := workload.Line(t, a.source, text)
		list = append(list, filepath.Base(a.source)+":"+strconv.Itoa(line)+" "+who)
	}
	slices.Sort(list)
	return list
}

// trace traces a program, which connects again and again until a report is as wanted.
// It returns the last report, and the program's log.
func (a *askers) trace(t *testing.T, p *workload.Proc, requestedAt bool, done func(*verdict.Report) bool) (*verdict.Report, map[uint64]string) {
	t.Helper()
	log := map[uint64]string{}
	cfg := config(0)
	cfg.Judgement.Patience.MinAge, cfg.Interval = 500*time.Millisecond, 250*time.Millisecond
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	cfg.Stacks, cfg.RequestedAt = hunt.StacksDeep, requestedAt
	var seen lastReport
	ready := func() bool {
		r := seen.Load()
		return r != nil && done(r)
	}
	r := traceWhile(t, cfg, &seen, func() {
		// What is asked for before the program was looked at is not known.
		for end := time.Now().Add(time.Minute); !ready() && time.Now().Before(end); {
			a.dial(t, p, log)
			for next := time.Now().Add(2 * time.Second); !ready() && time.Now().Before(next); {
				time.Sleep(cfg.Interval)
			}
		}
	})
	t.Logf("%d sockets in %.1f s", len(log), r.Duration)
	return r, log
}

// check traces a program until each function has its finding, and compares the sockets
// of the findings with what the program says of them.
func (a *askers) check(t *testing.T, p *workload.Proc) {
	t.Helper()
	want := a.places(t)
	r, log := a.trace(t, p, true, func(r *verdict.Report) bool {
		got, _ := places(r)
		return slices.Equal(got, want)
	})
	if got, _ := places(r); !slices.Equal(got, want) {
		t.Fatalf("asked for at\n got %q\nwant %q\nnotes %q", got, want, r.Notes)
	}
	for _, f := range r.Findings {
		if f.RequestedAt == nil {
			continue // made before the program was looked at
		}
		who := f.RequestedAt.Frames[*f.RequestedAt.Culprit].Function
		if f.RequestedAt.Via != a.via || len(f.Sockets) == 0 {
			t.Errorf("%s: known by %s, %d sockets", who, f.RequestedAt.Via, len(f.Sockets))
		}
		for _, s := range f.Sockets {
			if log[s.Inode] != who {
				t.Errorf("%s: socket %d was asked for by %q", who, s.Inode, log[s.Inode])
			}
		}
	}
}

// checkOff: with the switch off nothing is said of where sockets were asked for.
func (a *askers) checkOff(t *testing.T, p *workload.Proc) {
	t.Helper()
	found := func(r *verdict.Report) (sockets int) {
		for _, f := range r.Findings {
			sockets += f.Count
		}
		return sockets
	}
	// 40 at a time: at the second the program was looked at.
	const twice = 2 * 40
	r, _ := a.trace(t, p, false, func(r *verdict.Report) bool { return found(r) >= twice })
	if found(r) < twice {
		t.Errorf("%d sockets are found", found(r))
	}
	for _, f := range r.Findings {
		if f.RequestedAt != nil {
			t.Errorf("asked for at %+v", f.RequestedAt)
		}
	}
}

// TestStartedBy: two go statements start goroutines that dial, in one function. They
// are two findings, and one where --requested-at is off.
func TestStartedBy(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes half a minute on an emulated CPU: the tier of complete stacks has to come up")
	}
	source := "../asked/testdata/gostart/main.go"
	exe := filepath.Join(t.TempDir(), "gostart")
	if out, err := exec.Command(needs.Tool(t, "go"), "build", "-o", exe, source).CombinedOutput(); err != nil {
		t.Fatalf("build gostart: %v\n%s", err, out)
	}
	a := askers{source, verdict.ViaGo, map[string]string{"main.first": "go dial(to, \"main.first\")", "main.second": "go dial(to, \"main.second\")"}}
	to := fmt.Sprintf("127.0.0.1:%d", listen(t, func(c net.Conn) { _ = c.Close() }))
	a.check(t, workload.Start(t, exe, to))
	a.checkOff(t, workload.Start(t, exe, to))
}

// TestAskedCoroutine: four coroutines connect on uvloop, which makes the sockets. They
// are four findings.
func TestAskedCoroutine(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes half a minute on an emulated CPU: the tier of complete stacks has to come up")
	}
	source := "../asked/testdata/loop.py"
	a := askers{source, verdict.ViaLibuv, map[string]string{}}
	for _, who := range []string{"stream1", "stream2", "protocol1", "protocol2"} {
		a.functions[who] = "async def " + who + "("
	}
	port := listen(t, func(c net.Conn) { _ = c.Close() })
	a.check(t, workload.Start(t, needs.Uvloop(t), source, fmt.Sprint(port)))
}
