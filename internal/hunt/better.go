package hunt

import (
	"cmp"

	"sockleak/internal/event"
	"sockleak/internal/recording"
)

// created finds the better stacks of a socket that was made.
func (l *live) created(ev *event.Event) {
	l.deep.asks.created(ev)
	l.stacked(ev)
}

// stacked finds the better stacks of a socket that was made or used.
func (l *live) stacked(ev *event.Event) {
	id, lack := l.unwound.walked(ev)
	switch {
	case l.deep.joiner != nil:
		l.deep.taken(ev, cmp.Or(id, ev.Stack), id != 0)
	case lack != event.LackNone:
		l.deep.lack(betterFor(ev, ev.Stack, 0), lack, false)
	}
}

// better gives a socket, or a use of one, a better stack than it had.
func (l *live) better(b better) {
	l.rec.fixed(b.of, b.exchanged)
	if b.of == recording.KindExchange {
		l.deep.asks.exchanged(b.exchanged)
	}
	l.engine.exchange(b)
}

// exchange gives the sockets whose complete stacks have come those stacks, and notes
// those whose will not come. Those that are missing from before until, in ns, are lost.
func (l *live) exchange(until uint64) {
	l.deep.take(until, l.exe, l.unwound.whole, l.better)
	for _, lack := range l.deep.lacks {
		l.rec.fixed(recording.KindLacking, lack)
		l.engine.lack(lack)
	}
	l.deep.lacks = l.deep.lacks[:0]
	l.deep.asks.drop(l.engine)
	l.deep.asks.take(until, l, func(x askedFor) {
		l.rec.fixed(recording.KindAsked, x)
		l.engine.askedFor(x)
	})
}
