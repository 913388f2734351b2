package hunt

import (
	"strings"
	"testing"

	"sockleak/internal/event"
)

func TestCompatNote(t *testing.T) {
	c := compat{}
	if got := c.note(); got != "" {
		t.Errorf("without any: %q", got)
	}
	for pid := range uint32(1000) {
		c.add(event.ProcessKey{PID: pid + 1}, "old")
	}
	if len(c.names) != maxCompat {
		t.Errorf("%d are kept, want %d", len(c.names), maxCompat)
	}
	got := c.note()
	if want := "leave out: old (pid 1), old (pid 2), old (pid 3), old (pid 4), old (pid 5) and 995 more; their"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q in it", got, want)
	}
}
