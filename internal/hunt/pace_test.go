package hunt

import (
	"testing"
	"time"
)

// What looks take bounds how often there is one; a single one that took long does not.
func TestPace(t *testing.T) {
	const ms = time.Millisecond
	var p pace
	for i, look := range []struct{ snapshot, judged, want time.Duration }{
		{10 * ms, ms, 0}, // the first: of one nothing is known
		{10 * ms, ms, 200 * ms},
		{200 * ms, ms, 200 * ms}, // it waited for a CPU
		{5 * ms, ms, 100 * ms},
		{5 * ms, 900 * ms, 100 * ms}, // it read the symbols of a large program
		{5 * ms, ms, 100 * ms},
		{200 * ms, ms, 100 * ms},
		{150 * ms, ms, 3000 * ms}, // they do take long
		{300 * ms, ms, 3000 * ms},
		{ms, 800 * ms, 2400 * ms},
	} {
		if got := p.after(look.snapshot, look.judged); got != look.want {
			t.Errorf("look %d: %s, want %s", i, got, look.want)
		}
	}
}
