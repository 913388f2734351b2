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
		"still starting": {&deep{starting: make(chan started)}, []string{want}},
		"without complete stacks": {&deep{
			without: map[event.Lack]int{event.LackLost: 1, event.LackUnknown: 2}, unused: map[event.Lack]int{event.LackLost: 1},
		}, []string{
			"2 sockets have a stack by frame pointers alone: " + event.LackUnknown.String(),
			"1 socket has a stack by frame pointers alone: " + event.LackLost.String(),
			"1 call that --last-use follows has a stack by frame pointers alone: " + event.LackLost.String(),
		}},
		"not wanted": {&deep{}, nil},
	} {
		if got := test.tier.note(0); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
