package hunt

import (
	"context"
	"errors"
	"slices"
	"testing"

	"sockleak/internal/event"
)

// The reader is told which stacks are not complete. A trace that is over before tier 1
// is there has native stacks all the same.
func TestNoteOfStacks(t *testing.T) {
	const want = "the trace was over before stacks with frames of interpreted languages were there, which takes a second or two; native stacks are not concerned"
	for name, test := range map[string]struct {
		tier *deep
		want []string
	}{
		"given up":       {&deep{late: true}, []string{want}},
		"still starting": {&deep{starting: make(chan started), asks: asks{opening: make(chan opened)}}, []string{want}},
		"still opening what stands on it": {
			&deep{tier: &fakeTier{}, asks: asks{opening: make(chan opened)}},
			[]string{"the trace was over before it could be seen where sockets are asked for, which takes a second or two to begin"},
		},
		"without complete stacks": {&deep{
			without: map[shortfall]int{
				{use: true, why: event.LackLost}: 1, {use: true, walked: true, why: event.LackLost}: 4,
				{walked: true, why: event.LackLost}: 3, {why: event.LackLost}: 1, {why: event.LackUnknown}: 2,
				{why: event.LackCrowded}: 5,
			},
		}, []string{
			"2 sockets have a stack by frame pointers alone: the process was not known yet when the stack was to be taken",
			"1 socket has a stack by frame pointers alone: stack lost",
			"5 sockets have a stack by frame pointers alone: stack lost: more were made at once than are copied",
			"3 sockets have a stack by unwind tables alone, which lacks frames: stack lost",
			"1 call that --last-use follows has a stack by frame pointers alone: stack lost",
			"4 calls that --last-use follows have a stack by unwind tables alone, which lacks frames: stack lost",
		}},
		"not wanted": {&deep{}, nil},
	} {
		if got := test.tier.note(0); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// What the tier is waited for, and what stands on it: until both are there, or will not
// come.
func TestWaitForStacks(t *testing.T) {
	failed := errors.New("failed")
	over, end := context.WithCancel(t.Context())
	end()
	for name, test := range map[string]struct {
		d      deep
		ctx    context.Context
		tier   *started // what comes
		asks   *opened
		err    error
		ready  bool
		failed error // of the tier
		late   bool
		asked  error
	}{
		"nothing is wanted":   {ready: true},
		"the tier fails":      {tier: &started{err: failed}, ready: true, failed: failed},
		"it must not":         {d: deep{must: true}, tier: &started{err: failed}, err: failed, ready: true, failed: failed},
		"the trace is over":   {tier: &started{err: context.Canceled}, ready: true, late: true},
		"it is over before":   {ctx: over},
		"what stands on it":   {d: deep{tier: &fakeTier{}}, asks: &opened{err: failed}, ready: true, asked: failed},
		"that is over before": {d: deep{tier: &fakeTier{}}, ctx: over},
	} {
		t.Run(name, func(t *testing.T) {
			d := test.d
			if name != "nothing is wanted" {
				d.asks.opening = make(chan opened, 1)
				if d.tier == nil {
					d.starting = make(chan started, 1)
				}
			}
			if test.tier != nil {
				d.starting <- *test.tier
			}
			if test.asks != nil {
				d.asks.opening <- *test.asks
			}
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			err := d.wait(ctx)
			if err != test.err || d.ready() != test.ready || d.failed != test.failed || d.late != test.late || d.asks.failed != test.asked {
				t.Errorf("%v, ready %v, failed %v, late %v, asked %v", err, d.ready(), d.failed, d.late, d.asks.failed)
			}
		})
	}
}
