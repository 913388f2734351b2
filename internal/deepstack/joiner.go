package deepstack

import (
	"container/list"
	"time"

	"sockleak/internal/event"
)

const (
	// inFlight is how long a Birth may come after its event. Both are sent
	// within one run of a tracepoint, which nothing but an interrupt or the
	// hypervisor holds up.
	inFlight = 2 * time.Millisecond
	// maxBirths bounds the Births whose events have not come.
	maxBirths = 1 << 16
)

// Source is where a Joiner gets Births from: a Tier.
type Source interface {
	Poll(func(Birth)) error
	Since() uint64
}

// Joiner finds the stack of a socket that was made. It belongs to one goroutine,
// which applies the events.
//
// The rule: an event of kind Socket or Accept and a Birth belong together when
// both name the same socket, by its inode number, and the same thread; a Pair
// when the Birth names one of its halves; a Use when the Birth names its time too. The kernel gives an inode number of
// sockfs again only after some four billion others, so nothing that is lost on
// either side can join what doesn't belong together: what lost its other half
// stays alone. Event and Birth come by two rings: in each, those of one thread
// are in order, the Birth sent after the event. So when an event is applied, its
// Birth is there already, is in flight for microseconds, or was lost.
type Joiner struct {
	from  Source
	now   func() uint64 // ns of CLOCK_MONOTONIC
	sleep func(time.Duration)
	byID  map[birthKey]*list.Element // of *Birth
	age   *list.List                 // oldest first
}

// birthKey is what a Birth is of.
type birthKey struct{ inode, use uint64 }

func (b *Birth) key() birthKey { return birthKey{b.Inode, b.Use} }

// NewJoiner returns a Joiner that has no Births yet.
func NewJoiner(from Source) *Joiner {
	return &Joiner{from: from, now: now, sleep: time.Sleep, byID: map[birthKey]*list.Element{}, age: list.New()}
}

// Join returns the stack that the socket of an event was made or used on, or zero
// and what is lacking. It is called once for each event of kind Socket, Pair, Accept
// and Use, in order.
func (j *Joiner) Join(ev *event.Event) (id uint64, lack event.Lack, err error) {
	if ev.Spared {
		return 0, event.LackSpared, nil
	}
	if ev.Time < j.from.Since() {
		return 0, event.LackEarly, nil
	}
	b := j.find(ev)
	if b == nil {
		if err := j.from.Poll(j.add); err != nil {
			return 0, event.LackNone, err
		}
		b = j.find(ev)
	}
	if age := j.now() - ev.Time; b == nil && age < uint64(inFlight) {
		j.sleep(inFlight - time.Duration(age))
		if err := j.from.Poll(j.add); err != nil {
			return 0, event.LackNone, err
		}
		b = j.find(ev)
	}
	if b == nil {
		return 0, event.LackLost, nil
	}
	if ev.Kind != event.Pair || b.Inode != ev.Inode {
		// Of a pair, the event of the first half comes first.
		j.remove(b.key())
	}
	if b.Stack == 0 {
		return 0, event.LackUnknown, nil
	}
	return b.Stack, event.LackNone, nil
}

func (j *Joiner) find(ev *event.Event) *Birth {
	key := birthKey{inode: ev.Inode}
	if ev.Kind == event.Use {
		key.use = ev.Time
	}
	e := j.byID[key]
	if e == nil && ev.Kind == event.Pair {
		e = j.byID[birthKey{inode: ev.Inode2}]
	}
	if e == nil {
		return nil
	}
	b := e.Value.(*Birth)
	if b.TID != ev.TID || b.PID != ev.PID {
		return nil
	}
	return b
}

func (j *Joiner) add(b Birth) {
	j.remove(b.key())
	j.byID[b.key()] = j.age.PushBack(&b)
	if j.age.Len() > maxBirths {
		// Its event was lost: it came out of order by more than that.
		j.remove(j.age.Front().Value.(*Birth).key())
	}
}

func (j *Joiner) remove(key birthKey) {
	if e := j.byID[key]; e != nil {
		j.age.Remove(e)
		delete(j.byID, key)
	}
}
