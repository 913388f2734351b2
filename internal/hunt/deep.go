package hunt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sockleak/internal/deepstack"
	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/recording"
	"sockleak/internal/stack"
	"sockleak/internal/words"
)

// Stacks says which tiers of stacks are used.
type Stacks string

// The choices. StacksAuto is complete stacks in every language for processes that
// are named, where they can be had, and those by unwind tables until they are
// there, and for the whole system: there the profiler would have to know every
// program that starts.
const (
	StacksAuto     Stacks = "auto"
	StacksDeep     Stacks = "deep"     // an error if complete stacks can't be had
	StacksSnapshot Stacks = "snapshot" // by unwind tables, without the profiler
	StacksFP       Stacks = "fp"       // by frame pointers alone
	StacksOff      Stacks = "off"
)

// copied reports whether stacks are copied, to be walked by unwind tables.
func (s Stacks) copied() bool { return s == StacksAuto || s == StacksDeep || s == StacksSnapshot }

// deep reports whether complete stacks are wanted.
func (s Stacks) deep(named bool) bool { return s == StacksAuto && named || s == StacksDeep }

// deep is the tier of complete stacks. It takes a second or two to come up, in which
// events are followed already.
type deep struct {
	must     bool
	scope    deepstack.Options
	starting chan started // nil: not wanted, or here already
	cancel   context.CancelFunc
	tier     completeStacks // nil until it has come up
	joiner   *deepstack.Joiner
	waiting  []waiting
	lacks    []lacking // since they were taken last
	// lesser has the other stack of a call with a complete one: the
	// profiler keeps only so many.
	lesser  map[uint64]uint64
	without map[shortfall]int // what has no complete stack
	late    bool              // the trace was over before the tier had come up
	failed  error
	asks    asks
}

// completeStacks is what is used of a deepstack.Tier that has come up, beside its Births.
type completeStacks interface {
	Has(id uint64) bool
	Resolve(id uint64) stack.Origin
	Learn(pids ...uint32) error
	Since() uint64
	Err() error
	Close() error
}

type started struct {
	tier *deepstack.Tier
	err  error
}

// start begins to bring the tier up, and what stands on it after it: its stacks are
// there before.
func (d *deep) start(ctx context.Context) {
	ctx, d.cancel = context.WithCancel(ctx)
	tiers := make(chan started, 1)
	d.starting = tiers
	open := d.asks.start(d.scope.PIDs)
	go func() {
		tier, err := deepstack.Start(ctx, d.scope)
		tiers <- started{tier, err}
		if err == nil {
			open(ctx, tier)
		}
	}()
}

// arrived takes over the tier if it has come up.
func (d *deep) arrived(s started) error {
	d.starting = nil
	if s.err != nil {
		d.asks.opening = nil
	}
	if errors.Is(s.err, context.Canceled) {
		d.late = true
		return nil
	}
	if s.err != nil {
		d.failed = s.err
		if d.must {
			return s.err
		}
		return nil
	}
	d.tier, d.joiner = s.tier, deepstack.NewJoiner(s.tier)
	d.lesser = map[uint64]uint64{}
	return nil
}

// maxLearn bounds the processes that are looked at before their next socket when
// the whole system is traced.
const maxLearn = 256

// learn has the profiler look at processes that are likely to make more sockets.
func (d *deep) learn(t *lifecycle.Table) error {
	var pids []uint32
	for p := range t.Processes() {
		if len(pids) < maxLearn {
			pids = append(pids, p.Key.PID)
		}
	}
	return d.tier.Learn(pids...)
}

// poll looks whether the tier has come up, or given up, and what stands on it.
func (d *deep) poll(t *lifecycle.Table) error {
	select {
	case s := <-d.starting:
		if err := d.arrived(s); err != nil || d.tier == nil {
			return err
		}
		return d.learn(t)
	default:
	}
	select {
	case o := <-d.asks.opening:
		d.asks.arrived(o)
	default:
	}
	if d.joiner == nil {
		return nil
	}
	if err := d.tier.Err(); err != nil {
		d.fail(err)
	}
	d.asks.poll()
	return nil
}

// wait waits until the tier has come up, and what stands on it.
func (d *deep) wait(ctx context.Context) error {
	for !d.ready() {
		select {
		case s := <-d.starting:
			if err := d.arrived(s); err != nil {
				return err
			}
		case o := <-d.asks.opening:
			d.asks.arrived(o)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// ready reports whether nothing is on its way any more.
func (d *deep) ready() bool { return d.starting == nil && d.asks.opening == nil }

// fail goes on without more complete stacks; those that came still resolve.
func (d *deep) fail(err error) {
	d.failed, d.joiner = err, nil
}

// waiting is a socket, or a use of one, whose complete stack was asked for. The one it
// has meanwhile may have been walked by unwind tables.
type waiting struct {
	better
	walked bool
}

const (
	// patience is how long a stack may take from the kernel by way of the
	// profiler, ns. At the end nobody waits that long: what takes more than
	// lastPatience then is lost.
	patience, lastPatience = 2e9, 1e8
	// maxWaiting bounds the sockets that wait for their stacks, or for being told
	// that they have none.
	maxWaiting = 1 << 18
)

// taken notes a creation or a use, if its complete stack was taken. lesser is the stack
// that it has meanwhile, walked whether that is one by unwind tables.
func (d *deep) taken(ev *event.Event, lesser uint64, walked bool) {
	id, lack, err := d.joiner.Join(ev)
	if err != nil {
		d.fail(err)
	}
	switch {
	case lack == event.LackSpared, lack == event.LackEarly:
		// What the socket itself says, and what is told of all.
	case (lack == event.LackNone || lack == event.LackLost && walked) && len(d.waiting) < maxWaiting:
		// One that is lost and was walked waits too, until it can be seen
		// whether anything is missing.
		d.waiting = append(d.waiting, waiting{betterFor(ev, lesser, id), walked})
	case walked:
		// It has a stack that was walked to where it goes.
	case lack == event.LackNone:
		d.lack(betterFor(ev, lesser, 0), event.LackLost, walked)
	default:
		d.lack(betterFor(ev, lesser, 0), lack, walked)
	}
}

// shortfall is what sockets, or uses of them, have instead of a complete stack, and why.
type shortfall struct {
	use    bool
	walked bool // by unwind tables, not by frame pointers
	why    event.Lack
}

// String says it in words that follow those of what has it.
func (s shortfall) String() string {
	if s.walked {
		return "a stack by unwind tables alone, which lacks frames: " + s.why.String()
	}
	return "a stack by frame pointers alone: " + s.why.String()
}

// order is in which order they are told.
func (s shortfall) order() int {
	n := int(s.why)
	if s.walked {
		n += 1 << 8
	}
	if s.use {
		n += 1 << 9
	}
	return n
}

// lack notes what has no stack but a lesser one.
func (d *deep) lack(b better, why event.Lack, walked bool) {
	if d.without == nil {
		d.without = map[shortfall]int{}
	}
	use := b.of == recording.KindUseExchange
	d.without[shortfall{use, walked, why}]++
	if !use && len(d.lacks) < maxWaiting {
		d.lacks = append(d.lacks, lacking{b.Inode, b.Birth, why})
	}
}

// take calls f with those whose complete stacks have come. Those that say
// less than the stack they have are left: the profiler didn't know the process's
// code yet, for instance. Those that are missing from before until, in ns, are lost.
// whole says whether the stack they have has all there is.
func (d *deep) take(until uint64, exe func(event.ProcessKey) string, whole func(uint64) bool, f func(better)) {
	d.waiting = slices.DeleteFunc(d.waiting, func(w waiting) bool {
		if !d.tier.Has(w.Stack) {
			lost := w.Birth < until
			if lost && !(w.walked && whole(w.Lesser)) {
				d.lack(w.better, event.LackLost, w.walked)
			}
			return lost
		}
		o := d.tier.Resolve(w.Stack)
		if len(d.lesser) < maxWaiting {
			d.lesser[w.Stack] = w.Lesser
		}
		partial := o.Quality == stack.Partial && stack.Culprit(o.Frames, exe(w.Process)) >= 0
		if o.Quality == stack.Complete || partial && !whole(w.Lesser) {
			f(w.better)
		}
		return true
	})
}

// note says what the reader must know of the tier.
func (d *deep) note(began uint64) []string {
	var notes []string
	if d.tier != nil {
		late := time.Duration(d.tier.Since() - min(d.tier.Since(), began))
		if late > 100*time.Millisecond {
			notes = append(notes, fmt.Sprintf("complete stacks were there from %s on; sockets made before may lack the frames of interpreted languages", words.Duration(late)))
		}
	}
	for _, s := range slices.SortedFunc(maps.Keys(d.without), func(a, b shortfall) int { return a.order() - b.order() }) {
		have := words.Counted(d.without[s], "socket has", "sockets have")
		if s.use {
			have = words.Counted(d.without[s], "call that --last-use follows has", "calls that --last-use follows have")
		}
		notes = append(notes, fmt.Sprintf("%s %s", have, s))
	}
	notes = append(notes, d.asks.note()...)
	if d.failed != nil {
		notes = append(notes, fmt.Sprintf("frames of Python, Node, Java and Ruby could not be had: %v", d.failed))
	}
	if d.tier != nil && d.asks.opening != nil {
		notes = append(notes, "the trace was over before it could be seen where sockets are asked for, which takes a second or two to begin")
	}
	if d.starting != nil || d.late {
		notes = append(notes, "the trace was over before stacks with frames of interpreted languages were there, which takes a second or two; native stacks are not concerned")
	}
	return notes
}

// close ends the tier. One that is still on its way is closed when it comes;
// nobody should wait for it.
func (d *deep) close() error {
	if d.cancel == nil {
		return nil
	}
	d.cancel()
	switch {
	case !d.ready():
		go d.abandon()
	case d.tier != nil:
		return errors.Join(d.asks.close(), d.tier.Close())
	}
	return nil
}

// abandon closes what is on its way when it has come. Nobody is there to be told.
func (d *deep) abandon() {
	tier := d.tier
	if d.starting != nil {
		s := <-d.starting
		if s.err != nil {
			return
		}
		tier = s.tier
	}
	if d.asks.opening != nil {
		d.asks.tracer = (<-d.asks.opening).tracer
	}
	_ = errors.Join(d.asks.close(), tier.Close())
}

// tiers resolves stacks of all tiers: their numbers are hashes of 64 bits.
type tiers struct {
	stack.Resolver // by frame pointers
	deep           *deep
	unwound        *unwound
}

// Resolve implements stack.Resolver.
func (t tiers) Resolve(p event.ProcessKey, id uint64) stack.Origin {
	if at, ok := t.deep.asks.places[id]; ok {
		return at.origin
	}
	if t.deep.tier != nil && t.deep.tier.Has(id) {
		return t.deep.tier.Resolve(id)
	}
	if lesser := t.deep.lesser[id]; lesser != 0 {
		id = lesser
	}
	if t.unwound.stacks != nil && t.unwound.stacks.Has(id) {
		return t.unwound.stacks.Resolve(id)
	}
	if lesser := t.unwound.lesser[id]; lesser != 0 {
		id = lesser
	}
	return t.Resolver.Resolve(p, id)
}

var errStacks = errors.New("stacks are auto, deep, snapshot, fp or off")

// Set implements pflag.Value.
func (s *Stacks) Set(v string) error {
	switch Stacks(v) {
	case StacksAuto, StacksDeep, StacksSnapshot, StacksFP, StacksOff:
		*s = Stacks(v)
		return nil
	}
	return errStacks
}

// String implements pflag.Value.
func (s *Stacks) String() string { return string(*s) }

// Type implements pflag.Value.
func (s *Stacks) Type() string { return "mode" }
