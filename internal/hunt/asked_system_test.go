package hunt_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// TestAskedFor: three functions of a Node program leak sockets that the event loop
// makes for them. They are three findings, each with its line, and a recording
// says the same.
func TestAskedFor(t *testing.T) {
	needs.Root(t)
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	node, script := workload.Script(t, "node", "leak_ask.js")
	want := functionsOf(t, script, "leak")
	p := workload.Start(t, node, script, fmt.Sprint(listen(t, func(c net.Conn) { _ = c.Close() })))
	p.Ready()
	var file bytes.Buffer
	cfg := config(0)
	cfg.Judgement.Patience.MinAge = 2 * time.Second
	cfg.Probe.Scope.PIDs = []uint32{uint32(p.PID)}
	cfg.Stacks, cfg.RequestedAt, cfg.Record = hunt.StacksDeep, true, &file
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r, err := hunt.Trace(ctx, cfg, until{done: func(r *verdict.Report) bool {
		got, _ := places(r) // without: from before complete stacks were there
		return slices.Equal(got, want)
	}, end: cancel})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := places(r); !slices.Equal(got, want) {
		t.Errorf("asked for at\n got %q\nwant %q in\n%s", got, want, asJSON(r))
	}
	for _, f := range r.Findings {
		if f.RequestedAt == nil {
			continue
		}
		if f.Class != verdict.PeerClosed || f.RequestedAt.Via != verdict.ViaLibuv {
			t.Errorf("%s, known by %s", f.Class, f.RequestedAt.Via)
		}
		if made := f.Origin.Frames[0].Function; made != "socket" && made != "__socket" {
			t.Errorf("made at %s", made)
		}
	}
	checkReplay(t, file.Bytes(), r)
}
