package hunt

import (
	"testing"

	"sockleak/internal/asked"
)

// A request for a socket whose creation isn't known is waited for, and then lost.
func TestAskWithoutCreation(t *testing.T) {
	a := asks{waiting: []asked.Ask{{Time: 1000, Inode: 5, PID: 1}}, born: map[uint64]birth{5: {time: 900}}}
	for _, step := range []struct {
		until         uint64
		waiting, lost int
	}{{900, 1, 0}, {1000, 1, 0}, {1001, 0, 1}, {1002, 0, 1}} {
		a.match(step.until, nil, func(x askedFor) { t.Errorf("%+v", x) })
		if len(a.waiting) != step.waiting || a.lost != step.lost {
			t.Errorf("until %d %d are waiting and %d lost, want %d and %d", step.until, len(a.waiting), a.lost, step.waiting, step.lost)
		}
	}
}
