package deepstack

import (
	"math"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/workload"
)

// What was attached to the tracepoints before leaves out the stacks of some
// sockets: those aren't walked, all others are.
func TestLeftOut(t *testing.T) {
	needs.Root(t)
	const rate, sockets = 10, 5000
	p := workload.Start(t, workload.Build(t, "rates"))
	p.Ready()
	scope := []uint32{uint32(p.PID)}
	first, err := probe.Open(probe.Config{
		Scope: probe.Scope{PIDs: scope}, RingSize: 8 << 20, MaxSockets: 1024, Stacks: true, StackRate: rate,
	})
	if err != nil {
		t.Fatal(err)
	}
	// After the tier, which has its programs in it.
	t.Cleanup(func() {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	})
	tier := open(t, Options{PIDs: scope, Call: first.Walk})
	p.Do("hot 5000")
	joiner := NewJoiner(tier)
	made, spared, lost := uint64(0), uint64(0), uint64(0)
	err = first.Read(time.Now().Add(100*time.Millisecond), math.MaxInt, func(record []byte) {
		var ev event.Event
		var raw stack.Raw
		if isStack, err := probe.Decode(record, &ev, &raw); err != nil {
			t.Fatal(err)
		} else if isStack || ev.Kind != event.Socket {
			return
		}
		made++
		_, lack, err := joiner.Join(&ev)
		if err != nil {
			t.Fatal(err)
		}
		switch lack {
		case event.LackSpared:
			spared++
		case event.LackLost:
			lost++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tier.Loss()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d made, %d spared, %+v", made, spared, l)
	if made != sockets || spared < sockets/2 || l.Asked != made-spared || lost != 0 {
		t.Errorf("%d made, %d spared, %d lost, %+v", made, spared, lost, l)
	}
}
