package hunt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"sockleak/internal/deepstack"
	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// fakeTier sends Births, and has some of the stacks that they name.
type fakeTier struct {
	births []deepstack.Birth
	stacks map[uint64]stack.Origin
}

func (f *fakeTier) Poll(to func(deepstack.Birth)) error {
	for _, b := range f.births {
		to(b)
	}
	f.births = nil
	return nil
}

func (f *fakeTier) Has(id uint64) bool {
	_, ok := f.stacks[id]
	return ok
}

func (f *fakeTier) Resolve(id uint64) stack.Origin { return f.stacks[id] }
func (*fakeTier) Since() uint64                    { return 0 }
func (*fakeTier) Learn(...uint32) error            { return nil }
func (*fakeTier) Err() error                       { return nil }
func (*fakeTier) Close() error                     { return nil }

// What the kernel lost is said of the sockets concerned and counted in a note: of one
// the Birth is missing, of another the stack that its Birth names never comes. A third
// has its stack. That the second is lost is said when it is waited for no longer.
func TestStackLost(t *testing.T) {
	const (
		lesser = 70 // what all of them are made on by frame pointers
		whole  = 80
		second = 1_000_000_000
	)
	p := event.ProcessKey{PID: 5, Start: 1}
	birth := func(inode, id uint64) deepstack.Birth {
		return deepstack.Birth{Inode: inode, Stack: id, PID: p.PID, TID: p.PID}
	}
	tier := &fakeTier{
		births: []deepstack.Birth{birth(8, 90), birth(9, whole)},
		stacks: map[uint64]stack.Origin{whole: {Quality: stack.Complete, Frames: []stack.Frame{{Function: "connect"}}}},
	}
	l := &live{rec: &recorder{}, deep: deep{tier: tier, joiner: deepstack.NewJoiner(tier), lesser: map[uint64]uint64{}}}
	fp := replayedOrigins{p: {lesser: {Quality: stack.Partial, Frames: []stack.Frame{{Function: "socket"}}}}}
	l.engine = newEngine(options{JudgeEnd: true, Judgement: Judgement{Patience: verdict.Patience{MinAge: 1}}}, 250, 0,
		tiers{fp, &l.deep, &l.unwound}, verdict.Report{})
	l.engine.created = l.created
	for inode := uint64(7); inode <= 9; inode++ {
		l.engine.apply(&event.Event{
			Kind: event.Socket, Time: second, PID: p.PID, TID: p.PID, Start: p.Start, Inode: inode, FD: int32(inode),
			Sock: event.Sock{Family: 2, Type: 1, Protocol: 6, State: event.StateClose}, Stack: lesser,
		})
	}
	l.engine.apply(&event.Event{Kind: event.Exit, Time: 2 * second, PID: p.PID, Start: p.Start})

	for _, step := range []struct {
		until uint64
		lost  int
		note  string
	}{
		{second, 1, "1 socket has a stack by frame pointers alone: stack lost"},
		{second + 1, 2, "2 sockets have a stack by frame pointers alone: stack lost"},
		{second + 2, 2, "2 sockets have a stack by frame pointers alone: stack lost"},
	} {
		l.exchange(step.until)
		l.engine.look(tick{Time: 10 * second})
		findings := l.engine.report().Findings
		if len(findings) != 1 || findings[0].Count != 3 || findings[0].Origin.Frames[0].Function != "connect" {
			t.Fatalf("at %d: %+v", step.until, findings)
		}
		want := fmt.Sprintf("%d of 3: stack lost; the origin is that of others made by the same call", step.lost)
		if !slices.Contains(findings[0].Evidence, want) {
			t.Errorf("at %d: no %q in %q", step.until, want, findings[0].Evidence)
		}
		if got := l.deep.note(0); !slices.Equal(got, []string{step.note}) {
			t.Errorf("at %d: notes %q, want %q", step.until, got, step.note)
		}
	}
}

// Of a socket whose stack was walked by unwind tables too, losing the other is a loss
// where the walk lacks frames, as in an interpreted language, and none where it is
// whole: whether the Birth is missing or the stack that it names.
func TestStackLostWalked(t *testing.T) {
	const partial, whole, late = 70, 71, 1000
	p := event.ProcessKey{PID: 5, Start: 1}
	tier := &fakeTier{births: []deepstack.Birth{
		{Inode: 9, Stack: 90, PID: p.PID, TID: p.PID}, {Inode: 10, Stack: 90, PID: p.PID, TID: p.PID},
	}}
	d := deep{tier: tier, joiner: deepstack.NewJoiner(tier), lesser: map[uint64]uint64{}}
	for inode, lesser := range map[uint64]uint64{7: partial, 8: whole, 9: partial, 10: whole} {
		d.taken(&event.Event{
			Kind: event.Socket, Time: late - 1, PID: p.PID, TID: p.PID, Start: p.Start, Inode: inode, Stack: 60,
		}, lesser, true)
	}
	none := func(event.ProcessKey) string { return "" }
	isWhole := func(id uint64) bool { return id == whole }
	d.take(late-1, none, isWhole, func(b better) { t.Errorf("exchanged: %+v", b) })
	if len(d.without) != 0 {
		t.Errorf("lost while they are waited for: %v", d.without)
	}
	d.take(late, none, isWhole, func(b better) { t.Errorf("exchanged: %+v", b) })
	if want := map[shortfall]int{{walked: true, why: event.LackLost}: 2}; !maps.Equal(d.without, want) {
		t.Errorf("lost %v, want %v", d.without, want)
	}
	slices.SortFunc(d.lacks, func(a, b lacking) int { return cmp.Compare(a.Inode, b.Inode) })
	if want := []lacking{{7, late - 1, event.LackLost}, {9, late - 1, event.LackLost}}; !slices.Equal(d.lacks, want) {
		t.Errorf("said of %v, want %v", d.lacks, want)
	}
}
