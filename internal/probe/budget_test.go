package probe

import (
	"math"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/workload"
)

// Past the rate one socket in so many has a stack; all of them are told of; and
// a call that was not seen before has stacks at once.
func TestStackRate(t *testing.T) {
	needs.Root(t)
	const rate, hot, rare = 50, 20_000, 10
	p := workload.Start(t, workload.Build(t, "rates"))
	p.Ready()
	tracer, err := Open(Config{
		Scope: Scope{PIDs: []uint32{uint32(p.PID)}}, RingSize: 32 << 20, MaxSockets: 1024, Stacks: true, StackRate: rate,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	began := time.Now()
	p.Do("hot 20000")
	p.Do("rare 10")
	seconds := uint64(time.Since(began)/time.Second) + 1

	made := map[uint64]*walks{} // by call
	var order []*walks
	err = tracer.Read(time.Now().Add(time.Second), math.MaxInt, func(record []byte) {
		var ev event.Event
		var raw stack.Raw
		if isStack, err := Decode(record, &ev, &raw); err != nil {
			t.Fatalf("decode % x: %v", record, err)
		} else if isStack || ev.Kind != event.Socket {
			return
		}
		c := made[ev.Call]
		if c == nil {
			c = &walks{stacks: map[uint64]bool{}}
			made[ev.Call] = c
			order = append(order, c)
		}
		c.add(t, &ev)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(order) != 2 {
		t.Fatalf("%d calls, want two", len(order))
	}
	most := workload.MostWalks(hot, rate, seconds)
	t.Logf("in %d s: %+v, %+v; at most %d", seconds, *order[0], *order[1], most)
	if c := order[0]; c.made != hot || c.walked < rate || c.walked > most || len(c.stacks) != 1 {
		t.Errorf("of the hot call %+v; want %d made, between %d and %d walked, one stack", *c, hot, rate, most)
	}
	if c := order[1]; c.made != rare || c.walked != rare || len(c.stacks) != 1 {
		t.Errorf("of the rare call %+v; want %d made and walked, one stack", *c, rare)
	}
}

// walks is what came of one call.
type walks struct {
	made, walked uint64
	stacks       map[uint64]bool
}

func (c *walks) add(t *testing.T, ev *event.Event) {
	c.made++
	if ev.Spared {
		if ev.Stack != ev.Call {
			t.Fatalf("stack %d in place of call %d", ev.Stack, ev.Call)
		}
		return
	}
	c.walked++
	c.stacks[ev.Stack] = true
}
