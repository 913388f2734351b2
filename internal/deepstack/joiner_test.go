package deepstack

import (
	"testing"
	"time"

	"sockleak/internal/event"
)

// births is a Source that gives what is in it at the first, the second and every
// further Poll.
type births [][]Birth

func (b *births) Poll(f func(Birth)) error {
	if len(*b) > 0 {
		for _, one := range (*b)[0] {
			f(one)
		}
		*b = (*b)[1:]
	}
	return nil
}

func (*births) Since() uint64 { return 100 }

func TestJoin(t *testing.T) {
	socket := func(inode, at uint64) event.Event {
		return event.Event{Kind: event.Socket, Time: at, PID: 1, TID: 2, Inode: inode}
	}
	pair := func(inode, other, at uint64) event.Event {
		return event.Event{Kind: event.Pair, Time: at, PID: 1, TID: 2, Inode: inode, Inode2: other}
	}
	birth := func(inode, stack uint64) Birth {
		return Birth{Time: 1000, Inode: inode, Stack: stack, PID: 1, TID: 2}
	}
	use := func(inode, at uint64) event.Event {
		return event.Event{Kind: event.Use, Time: at, PID: 1, TID: 2, Inode: inode}
	}
	used := func(inode, at, stack uint64) Birth {
		return Birth{Time: 1000, Inode: inode, Use: at, Stack: stack, PID: 1, TID: 2}
	}
	type joined struct {
		stack uint64
		lack  event.Lack
	}
	for _, c := range []struct {
		name   string
		births births
		events []event.Event
		want   []joined
	}{
		{"in order", births{{birth(7, 70), birth(8, 80)}},
			[]event.Event{socket(7, 1000), socket(8, 1000)}, []joined{{70, event.LackNone}, {80, event.LackNone}}},
		{"birth lost", births{{birth(8, 80)}},
			[]event.Event{socket(7, 1000), socket(8, 1000)}, []joined{{0, event.LackLost}, {80, event.LackNone}}},
		{"event lost", births{{birth(7, 70), birth(8, 80)}},
			[]event.Event{socket(8, 1000)}, []joined{{80, event.LackNone}}},
		{"birth of one and event of the next lost", births{{birth(8, 80)}},
			[]event.Event{socket(7, 1000)}, []joined{{0, event.LackLost}}},
		{"in flight", births{nil, {birth(7, 70)}},
			[]event.Event{socket(7, 9_999_000)}, []joined{{70, event.LackNone}}},
		{"both halves of a pair", births{{birth(7, 70)}},
			[]event.Event{pair(7, 8, 1000), pair(8, 7, 1000)}, []joined{{70, event.LackNone}, {70, event.LackNone}}},
		{"process not known", births{{birth(7, 0)}},
			[]event.Event{socket(7, 1000)}, []joined{{0, event.LackUnknown}}},
		{"before the start", births{}, []event.Event{socket(7, 99)}, []joined{{0, event.LackEarly}}},
		{"spared", births{}, []event.Event{{Kind: event.Socket, Time: 1000, PID: 1, TID: 2, Inode: 7, Spared: true}},
			[]joined{{0, event.LackSpared}}},
		{"uses of a socket, one birth of them lost", births{{birth(7, 70), used(7, 1001, 71), used(7, 1003, 73)}},
			[]event.Event{socket(7, 1000), use(7, 1001), use(7, 1002), use(7, 1003)},
			[]joined{{70, event.LackNone}, {71, event.LackNone}, {0, event.LackLost}, {73, event.LackNone}}},
		{"the birth of a socket lost, not that of its use", births{{used(7, 1001, 71)}},
			[]event.Event{socket(7, 1000), use(7, 1001)}, []joined{{0, event.LackLost}, {71, event.LackNone}}},
		{"another thread", births{{{Inode: 7, Stack: 70, PID: 1, TID: 3}}},
			[]event.Event{socket(7, 1000)}, []joined{{0, event.LackLost}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := NewJoiner(&c.births)
			clock := uint64(10_000_000)
			j.now = func() uint64 { return clock }
			j.sleep = func(d time.Duration) { clock += uint64(d) }
			for i := range c.events {
				id, lack, err := j.Join(&c.events[i])
				if got := (joined{id, lack}); got != c.want[i] || err != nil {
					t.Errorf("event %d: %+v, %v; want %+v", i, got, err, c.want[i])
				}
			}
			if c.name == "both halves of a pair" && j.age.Len() != 0 {
				t.Errorf("%d births left", j.age.Len())
			}
		})
	}
}
