package hunt

import (
	"fmt"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// asking is a trace in which processes come, ask for sockets and end.
type asking struct {
	t      *testing.T
	asks   asks
	engine *engine
	time   uint64
}

func newAsking(t *testing.T) *asking {
	o := options{JudgeEnd: true, Judgement: Judgement{Patience: verdict.Patience{MinAge: 1}}}
	return &asking{t: t, asks: asks{places: map[uint64]place{}}, engine: newEngine(o, 250, 0, replayedOrigins{}, verdict.Report{})}
}

func (a *asking) apply(ev event.Event) *event.Event {
	a.time += 1_000_000
	ev.Time, ev.Start, ev.Table, ev.TID = a.time, uint64(ev.PID), uint64(ev.PID), ev.PID
	a.engine.apply(&ev)
	return &ev
}

// socket has a process make a socket that it asked for in a function, and returns the
// number of that place.
func (a *asking) socket(pid uint32, fd int32, function string) (ev *event.Event, id uint64) {
	a.t.Helper()
	ev = a.apply(event.Event{
		Kind: event.Socket, PID: pid, FD: fd, Inode: a.time + 1, Stack: 7,
		Sock: event.Sock{Family: 2, Type: 1, Protocol: 6, State: event.StateClose},
	})
	p := event.ProcessKey{PID: ev.PID, Start: ev.Start}
	o := stack.Origin{Quality: stack.Complete, Frames: []stack.Frame{{Function: function, Module: "/srv/app", File: "/srv/app.c", Line: 1}}}
	id = a.asks.keep(p, lifecycle.ByLibuv, o, "/srv/app")
	if id == 0 {
		a.t.Fatalf("%s of process %d is no place: %d are held, %d lost", function, pid, len(a.asks.places), a.asks.lost)
	}
	a.engine.askedFor(askedFor{Inode: ev.Inode, Birth: ev.Time, Stack: id, Start: p.Start, PID: pid, Via: lifecycle.ByLibuv})
	return ev, id
}

func (a *asking) close(ev *event.Event) {
	a.apply(event.Event{Kind: event.Close, PID: ev.PID, FD: ev.FD, Inode: ev.Inode})
}

func (a *asking) exit(pid uint32) { a.apply(event.Event{Kind: event.Exit, PID: pid}) }

func (a *asking) look() {
	a.time += 10_000_000_000
	a.asks.drop(a.engine)
	a.engine.look(tick{Time: a.time})
}

// There is a place for what is asked for however many processes there were, and those
// that a finding may show stay.
func TestPlacesOfTheDead(t *testing.T) {
	a := newAsking(t)
	shown := map[string]uint64{}
	// lives has a socket still, left had one when it ended, handed has one that its
	// child holds after it ended.
	_, shown["lives"] = a.socket(1, 3, "lives")
	_, shown["left"] = a.socket(2, 3, "left")
	_, shown["handed"] = a.socket(3, 3, "handed")
	a.time += 10_000_000_000
	a.apply(event.Event{Kind: event.Fork, PID: 3, Table2: 4, ChildPID: 4, ChildStart: 4})
	a.exit(2)
	a.exit(3)
	const each = 8
	for pid := uint32(10); pid < 10+2*maxAsked/each; pid++ {
		for i := range int32(each) {
			ev, _ := a.socket(pid, 3+i, fmt.Sprintf("asks%d", i))
			a.close(ev)
		}
		a.exit(pid)
		if pid%100 == 0 {
			a.look()
		}
	}
	a.look()
	if len(a.asks.places) != len(shown) {
		t.Errorf("%d places are held, want %d", len(a.asks.places), len(shown))
	}
	for name, id := range shown {
		if at, ok := a.asks.places[id]; !ok || at.origin.Frames[0].Function != name {
			t.Errorf("the place of the process that %s is %+v", name, at)
		}
	}
}
