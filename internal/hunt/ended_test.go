package hunt

import (
	"fmt"
	"slices"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/recording"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// What is learned of a socket when its process has ended is said of it all the same:
// its complete stack, and where it was asked for, both of which may come after the
// events.
func TestLearnedAfterTheEnd(t *testing.T) {
	const (
		loop   = 70 // what all of them are made on, as far as is known at first
		second = 1_000_000_000
	)
	p := event.ProcessKey{PID: 5, Start: 1}
	origins := replayedOrigins{p: {}}
	for id, function := range map[uint64]string{loop: "loop", 80: "connect", 81: "retry", 90: "fetch", 91: "poll"} {
		origins[p][id] = stack.Origin{Quality: stack.Complete, Frames: []stack.Frame{{Function: function, Kind: stack.Ruby, File: "/srv/app.rb"}}}
	}
	e := newEngine(options{JudgeEnd: true, Judgement: Judgement{Patience: verdict.Patience{MinAge: 1}}}, 250, 0, origins, verdict.Report{})
	births := []event.Event{}
	for i := range uint64(4) {
		births = append(births, event.Event{
			Kind: event.Socket, Time: second + i, PID: p.PID, Start: p.Start, Inode: 7 + i, FD: 3 + int32(i),
			Sock: event.Sock{Family: 2, Type: 1, Protocol: 6, State: event.StateClose}, Stack: loop,
		})
		e.apply(&births[i])
	}
	e.apply(&event.Event{Kind: event.Exit, Time: 9 * second, PID: p.PID, Start: p.Start})

	check := func(when string, want ...string) {
		t.Helper()
		e.look(tick{Time: 10 * second})
		var got []string
		for _, f := range e.report().Findings {
			asked := ""
			if r := f.RequestedAt; r != nil {
				asked = fmt.Sprintf(" for %s, inferred %v", r.Frames[0].Function, r.Inferred)
			}
			got = append(got, fmt.Sprintf("%d by %s%s", f.Count, f.Origin.Frames[0].Function, asked))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	check("at the end", "4 by loop")
	for i := range uint64(4) {
		e.exchange(better{betterFor(&births[i], loop, 80+i/2).exchanged, recording.KindExchange})
	}
	check("with complete stacks", "2 by connect", "2 by retry")
	for i, b := range births {
		e.askedFor(askedFor{Inode: b.Inode, Birth: b.Time, Stack: 90 + uint64(i)%2, Start: p.Start, PID: p.PID, Via: lifecycle.ByLibuv})
	}
	check("asked for", "2 by connect for fetch, inferred false", "2 by connect for poll, inferred false")
}
