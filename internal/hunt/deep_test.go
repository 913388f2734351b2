package hunt

import (
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
