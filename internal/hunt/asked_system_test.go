package hunt_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// closing is a server that closes every connection at once.
func closing(t *testing.T) (port int) {
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
			_ = c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestAskedFor: three functions of a Node program leak sockets that the event loop
// makes for them. They are three findings, each with its line, and a recording
// says the same.
func TestAskedFor(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	node, script := workload.Script(t, "node", "leak_ask.js")
	p := workload.Start(t, node, script, fmt.Sprint(closing(t)))
	p.Ready()
	var file bytes.Buffer
	cfg := config(0)
	cfg.Judgement.Patience.MinAge = 2 * time.Second
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	cfg.Stacks, cfg.RequestedAt, cfg.Record = hunt.StacksDeep, true, &file
	cfg.For = 45 * time.Second
	r := trace(t, t.Context(), cfg)

	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, name := range []string{"leak_direct", "leak_later", "leak_named"} {
		before, _, _ := strings.Cut(string(text), "function "+name)
		want = append(want, fmt.Sprintf("%s leak_ask.js:%d by libuv, peer-closed", name, strings.Count(before, "\n")+1))
	}
	for _, f := range r.Findings {
		if f.RequestedAt == nil {
			continue // from before complete stacks were there
		}
		c := f.RequestedAt.Frames[*f.RequestedAt.Culprit]
		got = append(got, fmt.Sprintf("%s %s:%d by %s, %s", c.Function, filepath.Base(c.File), c.Line, f.RequestedAt.Via, f.Class))
		if f.Origin.Frames[0].Function != "socket" && f.Origin.Frames[0].Function != "__socket" {
			t.Errorf("%s was made at %s", c.Function, f.Origin.Frames[0].Function)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("asked for at\n got %q\nwant %q\nnotes %q", got, want, r.Notes)
	}

	path := filepath.Join(t.TempDir(), "recording")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := hunt.Replay(path, hunt.RecordedTop, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := findingsJSON(t, again), findingsJSON(t, r); got != want {
		t.Errorf("replayed\n got %s\nwant %s", got, want)
	}
}

func findingsJSON(t *testing.T, r *verdict.Report) string {
	t.Helper()
	text, err := json.Marshal(r.Findings)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
