package hunt

import (
	"slices"
	"testing"
)

// A trace that is over before tier 1 is there has native stacks all the same.
func TestNoteOfLateStacks(t *testing.T) {
	const want = "the trace was over before stacks with frames of interpreted languages were there, which takes a second or two; native stacks are not concerned"
	for name, test := range map[string]struct {
		tier *deep
		want []string
	}{
		"given up":       {&deep{late: true}, []string{want}},
		"still starting": {&deep{starting: make(chan started)}, []string{want}},
		"not wanted":     {&deep{}, nil},
	} {
		if got := test.tier.note(0); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
