package hunt

import (
	"fmt"
	"slices"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/probe"
	"sockleak/internal/recording"
	"sockleak/internal/report"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/words"
)

// options is what an engine must know beside the events, and what a recording
// keeps of Config.
type options struct {
	Judgement  Judgement
	Scope      probe.Scope
	Self       uint32 // sockleak's own process, which is never in scope
	Command    string
	MaxSockets int
	// JudgeEnd: sockets that are open when their process ends count.
	JudgeEnd bool
	// Stackless: no stacks are taken.
	Stackless bool `json:",omitempty"`
}

// tick is what is known at a look beside the events.
type tick struct {
	Time      uint64     `json:"time"` // ns of CLOCK_MONOTONIC
	Final     bool       `json:"final,omitempty"`
	Ended     bool       `json:"ended,omitempty"` // every process in scope has
	Named     bool       `json:"named,omitempty"` // a process in scope has a name of --comm
	Loss      event.Loss `json:"loss"`
	TimeWait  *uint64    `json:"time_wait,omitempty"`
	Processes []counted  `json:"processes"`
	Notes     []string   `json:"notes,omitempty"`
}

// counted is a process and the number of its descriptors.
type counted struct {
	event.ProcessKey
	Used   uint64 `json:"used"`
	NoFile uint64 `json:"nofile"`
}

// engine turns events into reports. Live and replayed, it is the same: what it
// is given decides what it says, nothing else.
type engine struct {
	opts    options
	hz      uint64
	clock   uint64 // CLOCK_MONOTONIC when tracing began, ns
	table   *lifecycle.Table
	judge   *verdict.Judge
	names   *names
	origins stack.Resolver
	base    verdict.Report // what all reports have in common

	// created is told of every creation.
	created func(*event.Event)
	// used is told of every use.
	used func(*event.Event)
	// lived is told of every fork, exec and exit.
	lived func(*event.Event)
	// targets are the processes in scope when it has PIDs, with their starts
	// (zero until it is seen): the number alone is given to others later. alive
	// are those that have not ended.
	targets map[uint32]uint64
	alive   map[uint32]bool
	// ran are the processes that were described and run another program now, until
	// they are described anew.
	ran []event.ProcessKey

	ev         event.Event
	raw        stack.Raw
	row        event.Row
	decode     uint64 // records that could not be understood
	births     uint64 // sockets seen made
	spared     uint64 // of them, those whose stack was left out
	reconciles uint64
	last       tick
	suspects   int
	named      bool // a process in scope has, or had, a name of Scope.Comms
	tcp        bool // a socket was TCP's
}

func (o *options) newJudge(clock uint64) *verdict.Judge {
	j := verdict.NewJudge(o.Judgement.Patience, clock)
	j.Stackless = o.Stackless
	return j
}

func newEngine(o options, hz, clock uint64, origins stack.Resolver, base verdict.Report) *engine {
	e := &engine{
		opts: o, hz: hz, clock: clock,
		table: lifecycle.New(o.MaxSockets), judge: o.newJudge(clock),
		origins: origins, base: base,
		created: func(*event.Event) {}, used: func(*event.Event) {}, lived: func(*event.Event) {},
		targets: map[uint32]uint64{}, alive: map[uint32]bool{},
	}
	e.names = newNames(e.table, origins)
	for _, pid := range o.Scope.PIDs {
		e.targets[pid], e.alive[pid] = 0, true
	}
	return e
}

// start says when tracing began: now, with clock in ns of CLOCK_MONOTONIC. Nothing was
// judged before.
func (e *engine) start(now time.Time, clock uint64) {
	e.base.Started, e.clock = now.Round(0), clock
	e.judge = e.opts.newJudge(clock)
}

// event applies one record of the ring buffer. It returns a stack, if the record
// was one, for the caller to capture before the next.
func (e *engine) event(record []byte) *stack.Raw {
	isStack, err := probe.Decode(record, &e.ev, &e.raw)
	if err != nil {
		e.decode++
		return nil
	}
	if isStack {
		return &e.raw
	}
	e.apply(&e.ev)
	return nil
}

func (e *engine) apply(ev *event.Event) {
	key := event.ProcessKey{PID: ev.PID, Start: ev.Start}
	e.named = e.named || byName(ev.Kind)
	switch ev.Kind {
	case event.Fork, event.Exec, event.Exit:
		e.lived(ev)
	}
	switch ev.Kind {
	case event.Socket, event.Pair, event.Accept:
		e.created(ev)
		e.births++
		e.tcp = e.tcp || ev.Sock.IsTCP()
		if ev.Spared {
			e.spared++
		} else {
			e.judge.Called(key, ev.Call, ev.Stack)
		}
		e.judge.Created(ev)
	case event.Use:
		e.used(ev)
		e.judge.Used(ev)
	case event.Fork:
		if e.target(ev.PID, ev.Start) {
			e.targets[ev.ChildPID], e.alive[ev.ChildPID] = ev.ChildStart, true
		}
	case event.Exec:
		e.origins.Exec(key)
		if e.names.forget(key) {
			e.ran = append(e.ran, key)
		}
	case event.Exit:
		if e.opts.JudgeEnd {
			e.names.keep(key, event.Comm(&ev.Comm))
			e.judge.End(ev.Time, key, e.table)
		}
		delete(e.alive, ev.PID)
		delete(e.targets, ev.PID)
	}
	e.table.Apply(ev)
	if ev.Kind == event.Exit {
		e.judge.Forget(key)
		e.origins.Forget(key)
	}
}

// exchange gives a socket, or a use of one, a better stack than it had. One that was
// closed tells of those made by the same call.
func (e *engine) exchange(b better) {
	if b.of == recording.KindUseExchange {
		e.judge.BetterUse(b.Process, b.Inode, b.Birth, b.Call, b.Lesser, b.Stack)
		return
	}
	e.each(b.Inode, b.Birth, func(s *lifecycle.Socket) { s.Stack, s.Lack = b.Stack, event.LackNone })
	e.judge.Better(b.Process, b.Call, b.Lesser, b.Stack)
}

// lack notes why a socket has no better stack.
func (e *engine) lack(l lacking) {
	e.each(l.Inode, l.Birth, func(s *lifecycle.Socket) { s.Lack = l.Why })
}

// each calls f for a socket of which something is learned after it was made, where it
// is still known, and where it is remembered because it was open when its process
// ended.
func (e *engine) each(inode, birth uint64, f func(*lifecycle.Socket)) {
	for _, s := range []*lifecycle.Socket{e.table.Born(inode, birth), e.judge.Ended(inode, birth)} {
		if s != nil {
			f(s)
		}
	}
}

// begin, rowRecord and end merge a snapshot.
func (e *engine) begin(start uint64) { e.table.BeginSnapshot(start) }

// rowRecord reports whether the row is of a socket that concerns us.
func (e *engine) rowRecord(record []byte) bool {
	if err := probe.DecodeRow(record, e.hz, &e.row); err != nil {
		e.decode++
		return false
	}
	// A socket of ours in somebody else's hands has one more holder.
	scoped := e.inScope(&e.row)
	if !scoped && !e.table.Known(e.row.Inode) {
		return false
	}
	e.named = e.named || scoped
	e.tcp = e.tcp || e.row.Sock.IsTCP()
	e.table.Row(&e.row)
	return true
}

// listener returns the listener that the row is of which came last, of no matter which
// process, if that is news.
func (e *engine) listener() (l verdict.Listener, news bool) {
	if !e.row.Sock.IsTCP() || e.row.Sock.State != event.StateListen {
		return l, false
	}
	l = verdict.Listener{NetNS: e.row.Facts.NetNS, Port: e.row.Sock.Local.Port()}
	return l, e.judge.Listening(l)
}

func (e *engine) end(end uint64) {
	e.table.EndSnapshot(end)
	e.reconciles++
}

// target reports whether a process is one of those that are traced.
func (e *engine) target(pid uint32, start uint64) bool {
	known, ok := e.targets[pid]
	if ok && known == 0 {
		e.targets[pid], known = start, start
	}
	return ok && known == start
}

func (e *engine) inScope(r *event.Row) bool {
	s := &e.opts.Scope
	switch {
	case r.PID == e.opts.Self:
		return false
	case len(s.PIDs) > 0 && !e.target(r.PID, r.Start):
		return false
	}
	return nameWanted(s, event.Comm(&r.Comm))
}

// nameWanted reports whether a process of this name is in scope, as far as names say.
func nameWanted(s *probe.Scope, comm string) bool {
	return (len(s.Comms) == 0 || slices.Contains(s.Comms, comm)) && !slices.Contains(s.Exclude, comm)
}

// look judges after a snapshot.
func (e *engine) look(t tick) {
	e.last = t
	e.ran = e.ran[:0]
	e.named = e.named || t.Named
	have := make(map[event.ProcessKey]verdict.Descriptors, len(t.Processes))
	for _, p := range t.Processes {
		have[p.ProcessKey] = verdict.Descriptors{Used: p.Used, NoFile: p.NoFile}
	}
	e.judge.Descriptors(t.Time, have)
	e.suspects = e.judge.Look(t.Time, e.table, e.names)
}

// ended reports whether every process in scope has ended, where some were named.
func (e *engine) ended() bool { return len(e.opts.Scope.PIDs) > 0 && len(e.alive) == 0 }

func (e *engine) elapsed() time.Duration {
	return time.Duration(e.last.Time - min(e.last.Time, e.clock))
}

// report says what the last look found.
func (e *engine) report() *verdict.Report {
	r := e.base
	t := e.table.Totals()
	r.Schema = verdict.Schema
	r.Duration = float64(e.elapsed().Milliseconds()) / 1e3
	r.MinAge = e.opts.Judgement.Patience.MinAge.Seconds()
	r.Idle = e.opts.Judgement.Patience.Idle.Seconds()
	r.Totals = verdict.Totals{
		Opened: t.Opened, Closed: t.Closed, Live: uint64(t.Live), Preexisting: uint64(t.Preexisting),
		Winding: uint64(t.Winding), TimeWait: e.last.TimeWait, TCP: e.tcp,
	}
	r.Loss = verdict.Loss{Loss: e.last.Loss, Reconciles: e.reconciles, Repaired: t.Repaired}
	r.Loss.DecodeError += e.decode
	r.Loss.TableFull += t.Full
	r.Findings = e.judge.Findings(e.table, e.names)
	r.Limits = e.judge.Limits(e.names)
	r.Observations = e.judge.Observations(e.names)
	r.Notes = slices.Concat(e.base.Notes, e.last.Notes)
	if n := e.judge.EndedOmitted(); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s left by processes that ended than can be remembered; no finding counts them", words.Counted(n, "more socket was", "more sockets were")))
	}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	verdict.Conclude(&r, e.judge.Doubts(), e.last.Ended)
	verdict.Unseen(&r, e.unseen())
	if top := e.opts.Judgement.Top; top > 0 && len(r.Findings) > top {
		r.Omitted = len(r.Findings) - top
		r.Findings = r.Findings[:top]
	}
	return &r
}

// scopeText says in words what is looked at.
func (o *options) scopeText() string {
	s := &o.Scope
	text := report.Everything
	switch {
	case o.Command != "":
		text = "command " + o.Command
	case len(s.PIDs) == 1:
		text = fmt.Sprintf("pid %d", s.PIDs[0])
	case len(s.PIDs) > 1:
		text = fmt.Sprintf("%d processes", len(s.PIDs))
	}
	for _, name := range s.Comms {
		text += ", only " + name
	}
	for _, name := range s.Exclude {
		text += ", without " + name
	}
	return text
}
