package hunt

import (
	"slices"
	"testing"

	"sockleak/internal/asked"
)

func TestLossNotes(t *testing.T) {
	const (
		lost    = "the line that asked for them was lost for 7 sockets"
		unknown = "where they were asked for is not known of 7 sockets: the unwinder did not know their processes yet"
	)
	tests := map[string]struct {
		loss asked.Loss
		lost int
		want []string
	}{
		"nothing":     {loss: asked.Loss{Handles: 9}},
		"of any kind": {loss: asked.Loss{Full: 1, Busy: 1, NotRun: 1, Unread: 1, Ring: 1}, lost: 2, want: []string{lost}},
		"too early":   {loss: asked.Loss{Unknown: 7}, want: []string{unknown}},
		"of one":      {loss: asked.Loss{Busy: 1}, want: []string{"the line that asked for them was lost for 1 socket"}},
		"both":        {loss: asked.Loss{Ring: 7, Unknown: 7}, want: []string{lost, unknown}},
	}
	for name, test := range tests {
		if got := lossNotes(test.loss, test.lost); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
