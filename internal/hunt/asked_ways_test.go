package hunt_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// listen returns a listener and its port; take is given what it accepts.
func listen(t *testing.T, take func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			take(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// free is a port at which nobody listens.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// visit connects to a port twice a second and closes at once, while ctx lasts. At
// first nobody listens.
func visit(ctx context.Context, port int) {
	for ctx.Err() == nil {
		if c, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", port)); err == nil {
			_ = c.Close()
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// until is an observer that ends the trace when a report is as wanted.
type until struct {
	quiet
	done func(*verdict.Report) bool
	end  context.CancelFunc
}

func (u until) Interim(r *verdict.Report) error {
	if u.done(r) {
		u.end()
	}
	return nil
}

// places are where the findings of a report say that their sockets were asked for,
// or accepted from, and how many sockets have neither.
func places(r *verdict.Report) (list []string, without int) {
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.RequestedAt != nil && f.RequestedAt.Culprit != nil:
			c := f.RequestedAt.Frames[*f.RequestedAt.Culprit]
			list = append(list, fmt.Sprintf("%s:%d %s", filepath.Base(c.File), c.Line, c.Function))
		case f.AcceptedFrom != nil && f.AcceptedFrom.Culprit != nil:
			c := f.AcceptedFrom.Frames[*f.AcceptedFrom.Culprit]
			list = append(list, fmt.Sprintf("%s:%d %s", filepath.Base(c.File), c.Line, c.Function))
		default:
			without += f.Count
		}
	}
	slices.Sort(list)
	return list, without
}

// functionsOf are the functions of a script whose names begin as given, as places
// has them.
func functionsOf(t *testing.T, script string, prefixes string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`function ((?:` + prefixes + `)_\w+)`)
	for i, line := range strings.Split(string(text), "\n") {
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			list = append(list, fmt.Sprintf("%s:%d %s", filepath.Base(script), i+1, m[1]))
		}
	}
	slices.Sort(list)
	return list
}

// TestAskedWays: three functions that leak connections made by net, and by tls, http,
// https, with an agent and without, by fetch, after a lookup, at the end of a chain of
// promises, from a timer: each is a finding with its own line; and so is each of two
// listeners whose connections are accepted in one function.
func TestAskedWays(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes a minute")
	}
	node, script := workload.Script(t, "node", "leak_ways.js")
	want := functionsOf(t, script, "leak|listen")
	if len(want) != 32 {
		t.Fatalf("the program has %d functions, want 32", len(want))
	}
	var silent []net.Conn
	api, admin := free(t), free(t)
	p := workload.Start(t, node, script, fmt.Sprint(listen(t, func(c net.Conn) { silent = append(silent, c) })), fmt.Sprint(api), fmt.Sprint(admin))
	p.Ready()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	go visit(ctx, api)
	go visit(ctx, admin)
	cfg := config(0)
	cfg.Judgement.Patience = verdict.Patience{MinAge: 2 * time.Second, Idle: 4 * time.Second}
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	cfg.Probe.StackRate = hunt.DefaultStackRate
	cfg.Stacks, cfg.RequestedAt = hunt.StacksDeep, true
	cfg.Attached = func(bool) error {
		p.Do("go")
		return nil
	}
	r, err := hunt.Trace(ctx, cfg, until{done: func(r *verdict.Report) bool {
		got, _ := places(r)
		return slices.Equal(got, want)
	}, end: cancel})
	if err != nil {
		t.Fatal(err)
	}
	got, without := places(r)
	if !slices.Equal(got, want) {
		t.Errorf("asked for at\n got %q\nwant %q\nnotes %q", got, want, r.Notes)
	}
	// The profiler may miss a stack, of code that was compiled a moment ago.
	if most := int(r.Totals.Opened) / 20; without > most {
		t.Errorf("%d sockets have no such place, want at most %d", without, most)
	}
	t.Logf("%d sockets, %d without a place, in %.0f s; %q", r.Totals.Opened, without, r.Duration, r.Notes)
}
