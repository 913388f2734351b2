package deepstack

import (
	"os/exec"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
)

// The lifecycle events of a program that makes sockets as fast as it can, joined
// to their stacks: every one comes from the function that makes its kind.
func TestJoinEvents(t *testing.T) {
	needs.Root(t)
	exe := t.TempDir() + "/native"
	build(t, "gcc", "-O2", "-g", "-fomit-frame-pointer", "-o", exe, source(t, "native.c"))
	const rounds = 2000
	// The shell becomes the program, so that it is known beforehand.
	cmd := exec.Command("/bin/sh", "-c", `read go; exec "$0" 5 200 2000`, exe)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(cmd)
	pid := uint32(cmd.Process.Pid)
	p, err := probe.Open(probe.Config{Scope: probe.Scope{PIDs: []uint32{pid}}, RingSize: 8 << 20, MaxSockets: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	tier := open(t, Options{PIDs: []uint32{pid}})
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	type made struct {
		event.Kind
		stack uint64
		lack  event.Lack
	}
	var all []made
	joiner := NewJoiner(tier)
	ended := false
	for deadline := time.Now().Add(20 * time.Second); !ended && time.Now().Before(deadline); {
		err := p.Read(time.Now().Add(50*time.Millisecond), 100_000, func(record []byte) {
			var ev event.Event
			var raw stack.Raw
			if isStack, err := probe.Decode(record, &ev, &raw); isStack || err != nil {
				return
			}
			switch ev.Kind {
			case event.Socket, event.Pair, event.Accept:
				id, lack, err := joiner.Join(&ev)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, made{ev.Kind, id, lack})
			case event.Exit:
				ended = true
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(10 * turn)
	want := map[event.Kind]string{event.Socket: "make_socket", event.Pair: "make_pair", event.Accept: "take_connection"}
	whole := map[event.Kind]int{}
	reasons := map[string]int{}
	lost := 0
	for i, m := range all {
		if m.lack == event.LackLost {
			lost++
		}
		o := tier.Resolve(m.stack)
		if o.Quality != stack.Complete {
			reasons[m.lack.String()+"/"+o.Reason]++
			continue
		}
		whole[m.Kind]++
		if got := found(o.Frames, exe).function; got != want[m.Kind] && i > 0 { // the first is the listener
			t.Fatalf("event %d of kind %d: made in %s, want %s", i, m.Kind, got, want[m.Kind])
		}
	}
	t.Logf("%d events, %v complete; else: %v; %d lost", len(all), whole, reasons, lost)
	if len(all) != 1+4*rounds || lost != 0 {
		t.Errorf("%d events, %d lost; want %d and none", len(all), lost, 1+4*rounds)
	}
	for k, perRound := range map[event.Kind]int{event.Socket: 1, event.Pair: 2, event.Accept: 1} {
		// The profiler reads the program's tables while it already runs.
		if whole[k] < rounds*perRound/2 {
			t.Errorf("%d complete stacks of kind %d in %d rounds", whole[k], k, rounds)
		}
	}
}
