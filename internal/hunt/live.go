package hunt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"sockleak/internal/asked"
	"sockleak/internal/deepstack"
	"sockleak/internal/event"
	"sockleak/internal/framepointer"
	"sockleak/internal/hosts"
	"sockleak/internal/mapfollow"
	"sockleak/internal/probe"
	"sockleak/internal/procfs"
	"sockleak/internal/recording"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
	"sockleak/internal/unwind"
	"sockleak/internal/verdict"
)

const (
	// flush is how often the ring buffer is emptied; the kernel doesn't wake
	// us for events.
	flush = 50 * time.Millisecond
	// batch bounds how many records are read before the clock is looked at.
	batch = 100_000
	// watch is how often the loss counters are looked at, and progress told.
	watch = 500 * time.Millisecond
	// secondLook is the pause before the last look: what was only passing
	// through is gone then.
	secondLook = 250 * time.Millisecond
	// snapshotShare bounds the time spent in snapshots: one that took one unit is
	// followed by at least this many without. judgeShare does so for judgements
	// and reports, which hold up nobody else, and take long when they have to read
	// the symbols of a large program, once.
	snapshotShare = 20
	judgeShare    = 3
)

// live is a trace of the running kernel.
type live struct {
	cfg     Config
	opts    options
	probe   *probe.Probe
	engine  *engine
	fs      procfs.FS
	hosts   hosts.Files
	obs     Observer
	rec     *recorder
	deep    deep
	unwound unwound
	maps    *mapfollow.Follower // nil if it can't be had
	rows    []byte              // of the snapshot being taken
	compat  compat
	hidden  hidden
	notes   []string // known before it began
	loss    event.Loss
	started time.Time
	cost    time.Duration // of the last snapshot, the merge included
	judged  time.Duration // that the judgement and the report of the last look took
	closing bool          // these are the last looks
	began   uint64        // when what is traced could begin, ns of CLOCK_MONOTONIC
}

// Trace traces until cfg.For has passed, ctx ends, or every process in scope has
// ended, and returns the last report.
func Trace(ctx context.Context, cfg Config, obs Observer) (*verdict.Report, error) {
	l := &live{cfg: cfg, obs: obs, fs: procfs.New("/proc")}
	l.opts = options{
		Judgement: cfg.Judgement, Scope: cfg.Probe.Scope, Self: uint32(os.Getpid()),
		Command: cfg.Command, MaxSockets: cfg.Probe.MaxSockets, JudgeEnd: len(cfg.Probe.Scope.PIDs) > 0,
		Stackless: !cfg.Probe.Stacks,
	}
	hz, err := probe.HZ()
	if err != nil {
		return nil, err
	}
	if l.maps, err = mapfollow.Open(); err != nil {
		l.notes = append(l.notes, fmt.Sprintf("the code of processes that end within milliseconds can't be named: %v", err))
	} else {
		defer l.maps.Close()
	}
	if cfg.Stacks.copied() {
		cfg.Probe.Copies = copyRing
	}
	cfg.Probe.Types = btf.NewCache()
	if l.probe, err = probe.Open(cfg.Probe); err != nil {
		return nil, err
	}
	defer l.probe.Close()
	l.hidden.open(l.probe, cfg.Probe.Types)
	cfg.Probe.Types = nil // some 10 MB
	defer l.hidden.close()
	base := verdict.Report{
		Scope: l.opts.scopeText(), Version: cfg.Version, Kernel: kernelRelease(), Notes: append(l.notes, l.missingHooks()...),
	}
	symbols := symbol.New(symbol.Options{})
	fp := framepointer.New(symbols, l.recall)
	if cfg.Stacks.copied() {
		l.unwound.start(unwind.New(symbols, fp, l.probe), l.probe)
	}
	l.engine = newEngine(l.opts, hz, probe.Now(), tiers{fp, &l.deep, &l.unwound}, base)
	l.engine.created, l.engine.used, l.engine.lived = l.created, l.stacked, l.lived
	if cfg.Stacks.deep(len(l.opts.Scope.PIDs) > 0) {
		if err := l.startDeep(ctx); err != nil {
			return nil, err
		}
		defer l.deep.close()
	}
	if cfg.Command != "" {
		// It hasn't begun: it is to be traced from its first instruction, and what
		// starting takes is no time in which it was watched.
		if err := l.deep.wait(ctx); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err // it never will
		}
	}
	l.started = time.Now()
	l.engine.start(l.started, probe.Now())
	if l.rec, err = newRecorder(cfg.Record, l.opts, hz, l.engine.clock, l.engine.base); err != nil {
		return nil, err
	}
	l.engine.names.resolved = l.rec.origin
	l.engine.names.host = l.host
	r, err := l.run(ctx)
	if cerr := l.rec.close(); cerr != nil && r != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the recording is incomplete: %v", cerr))
	}
	return r, err
}

// startDeep begins to bring the tier of complete stacks up.
func (l *live) startDeep(ctx context.Context) error {
	l.deep.asks = asks{wanted: l.cfg.RequestedAt, there: l.processes, inScope: l.inScope, budget: asked.Budget{Rate: l.cfg.Probe.StackRate}}
	if l.cfg.Ahead != nil {
		l.deep.asks.there = func() []uint32 { return nil } // it runs nothing yet
	}
	if s := &l.opts.Scope; len(s.Comms)+len(s.Exclude) == 0 { // what it will be called isn't known
		l.deep.asks.ahead = l.cfg.Ahead
	}
	l.deep.asks.budget.Processes, l.deep.asks.budget.Calls = l.probe.Budget()
	if l.maps != nil {
		l.maps.Watch(l.mapped)
	}
	l.deep.must = l.cfg.Stacks == StacksDeep
	if err := deepstack.Supported(); err != nil && l.deep.must {
		return err // now, and not after the time that starting takes
	}
	l.deep.scope = deepstack.Options{
		PIDs: l.opts.Scope.PIDs, Children: l.opts.Scope.Children, Ahead: l.cfg.Ahead, Call: l.probe.Walk,
	}
	if u := l.probe.Uses(); u != nil {
		l.deep.scope.Uses = u
	}
	l.deep.start(ctx)
	return nil
}

func (l *live) missingHooks() []string {
	notes := []string{}
	for _, name := range l.probe.Missing() {
		notes = append(notes, fmt.Sprintf("this kernel has no tracepoint syscalls/%s: what it would tell is known only at the next look at the kernel's tables", name))
	}
	return notes
}

func (l *live) run(ctx context.Context) (*verdict.Report, error) {
	// Attach, then snapshot, then the events that were made meanwhile.
	if err := l.snapshot(); err != nil {
		return nil, err
	}
	l.began = probe.Now()
	if l.cfg.Ready != nil {
		if err := l.cfg.Ready(); err != nil {
			return nil, err
		}
	}
	if err := l.loop(ctx); err != nil {
		return nil, err
	}
	l.closing = true
	if err := l.reconcile(false); err != nil {
		return nil, err
	}
	if l.engine.suspects > 0 {
		if err := l.drain(time.Now().Add(secondLook)); err != nil {
			return nil, err
		}
	}
	if err := l.reconcile(true); err != nil {
		return nil, err
	}
	return l.engine.report(), nil
}

// loop follows the events and looks at the kernel's tables at every interval.
func (l *live) loop(ctx context.Context) error {
	var end time.Time
	if l.cfg.For > 0 {
		end = l.started.Add(l.cfg.For)
	}
	// Both at once: the first progress shows that tracing has begun.
	nextLook, earliest, nextWatch := time.Now(), time.Now(), time.Now()
	var pace pace
	for ctx.Err() == nil && !l.engine.ended() && (end.IsZero() || time.Now().Before(end)) {
		if err := l.drain(time.Now().Add(flush)); err != nil {
			return err
		}
		if err := l.attached(); err != nil {
			return err
		}
		now := time.Now()
		if now.After(nextWatch) {
			nextWatch = now.Add(watch)
			lost, err := l.watch()
			if err != nil {
				return err
			}
			if lost {
				// At once, but for the share that looks may take: or they
				// would be what the events are lost by.
				nextLook = earliest
			}
		}
		if now.Before(nextLook) {
			continue
		}
		if err := l.reconcile(false); err != nil {
			return err
		}
		if err := l.judging(func() error { return l.obs.Interim(l.engine.report()) }); err != nil {
			return err
		}
		earliest = now.Add(pace.after(l.cost, l.judged))
		nextLook = now.Add(l.cfg.Interval)
		if nextLook.Before(earliest) {
			nextLook = earliest
		}
	}
	return nil
}

// pace is how soon after a look the next may be.
type pace struct{ last time.Duration }

// after returns the least time from the beginning of a look to that of the next, by what
// its snapshot and its judgement took. One look that had to wait for a CPU says nothing
// of the next, so it is the less of what the last two call for.
func (p *pace) after(snapshot, judged time.Duration) time.Duration {
	before := p.last
	p.last = max(snapshotShare*snapshot, judgeShare*judged)
	return min(before, p.last)
}

// attached tells, once, that all is attached.
func (l *live) attached() error {
	f := l.cfg.Attached
	if f == nil || !l.deep.ready() {
		return nil
	}
	l.cfg.Attached = nil
	return f(l.deep.asks.tracer != nil)
}

// watch tells progress and reports whether events were lost since it was called
// last.
func (l *live) watch() (lost bool, err error) {
	loss, err := l.probe.Loss()
	if err != nil {
		return false, err
	}
	lost = loss.Events() > l.loss.Events()
	l.loss = loss
	t := l.engine.table.Totals()
	l.obs.Progress(Progress{
		Elapsed: time.Since(l.started), Opened: t.Opened, Closed: t.Closed, Live: uint64(t.Live), Suspects: l.engine.suspects,
	})
	l.dropEnded()
	return lost, nil
}

// dropEnded forgets processes whose end was not seen, because the event was
// lost or came before the attach.
func (l *live) dropEnded() {
	for pid := range l.engine.alive {
		if ended(int(pid)) {
			delete(l.engine.alive, pid)
		}
	}
}

// ended reports whether all threads of a process have ended. A zombie has, though
// it can still be signalled; one whose first thread alone has ended looks like a
// zombie in /proc, and has not.
func ended(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer func() { _ = unix.Close(fd) }()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

// recall returns the mappings of a process that is gone.
func (l *live) recall(p event.ProcessKey) []symbol.Mapping {
	if l.maps == nil {
		return nil
	}
	return l.maps.Maps(p)
}

// drain applies the events there are, and those that come until the deadline.
func (l *live) drain(deadline time.Time) error {
	if l.maps != nil {
		l.maps.Drain()
	}
	if err := l.deep.poll(l.engine.table); err != nil {
		return err
	}
	return l.probe.Read(deadline, batch, func(record []byte) {
		if raw := l.engine.event(record); raw != nil {
			l.capture(*raw)
		}
		l.rec.frame(recording.KindEvent, record)
		for _, key := range l.engine.ran {
			l.describe(key)
		}
		l.engine.ran = l.engine.ran[:0]
		l.unwound.take(l.better)
	})
}

// capture looks at the process a new stack is of, while it is still there.
func (l *live) capture(raw stack.Raw) {
	l.engine.origins.Capture(raw)
	if _, known := l.engine.names.known[raw.Process]; !known {
		l.describe(raw.Process)
	}
}

// lived is told of every fork, exec and exit. A process that ended without a stack that
// was new is looked at last.
func (l *live) lived(ev *event.Event) {
	l.deep.asks.lived(ev)
	if ev.Kind != event.Exit || !l.opts.JudgeEnd {
		return
	}
	key := event.ProcessKey{PID: ev.PID, Start: ev.Start}
	if _, holds := l.engine.table.Process(key); !holds {
		return
	}
	if _, known := l.engine.names.known[key]; !known {
		l.describe(key)
	}
}

// describe looks a process up. One that is gone keeps what was known of it, and its
// program is what it mapped first.
func (l *live) describe(key event.ProcessKey) bool {
	info, err := l.fs.Process(key.PID)
	if err != nil || !info.StartedAt(key.Start) {
		gone := err == nil || errors.Is(err, procfs.ErrNoProcess)
		if exe := l.ran(key); gone && exe != nil {
			d := l.engine.names.known[key]
			d.ProcessKey, d.Exe = key, exe
			l.known(d)
		}
		return false
	}
	d := described{ProcessKey: key, Comm: info.Comm, Container: info.Container, Exe: &info.Exe}
	if info.Exe == "" { // a zombie's, or none that may be read
		d.Exe = l.ran(key)
	}
	if n := len(info.NSPIDs); n > 1 {
		d.NSPID = &info.NSPIDs[n-1]
	}
	// Where it can't be told, the program's functions have no names either, and
	// that is told.
	if narrow, err := l.fs.Is32Bit(key.PID); err == nil && narrow {
		l.compat.add(key, info.Comm)
	}
	started := info.Start.Round(0).UTC()
	d.Start = &started
	d.hosts, d.hostsAt = l.hostsOf(key), l.engine.last.Time
	l.known(d)
	return true
}

// known notes what was looked up about a process.
func (l *live) known(d described) {
	l.engine.names.add(d)
	l.rec.json(recording.KindProcess, d)
}

// ran returns the program that a process was seen to run last, nil if none was.
func (l *live) ran(key event.ProcessKey) *string {
	if l.maps == nil {
		return nil
	}
	if exe := l.maps.Program(key); exe != "" {
		return &exe
	}
	return nil
}

func kernelRelease() string {
	var u unix.Utsname
	// uname(2) fails only for a bad pointer.
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}
