// Package deepstack takes complete user stacks where sockets are made, native
// and interpreted frames in one, without frame pointers: the unwinder of the
// OpenTelemetry eBPF profiler, run from our own tracepoints instead of a clock.
// Only this package runs the profiler; unwind reads tables with packages of its module.
//
// A stack is taken at the return of socket, socketpair, accept and accept4,
// when it is certain that there is a socket; the registers and the stack of
// user space are those of the call, however long it blocked. The kernel side
// reads the inode number of the new socket and sends a Birth: this socket, that
// stack. A Birth is joined to a lifecycle event by the inode number, so the loss
// of either can't shift the others. The stack itself comes once, when it is new.
package deepstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	profilerlog "go.opentelemetry.io/ebpf-profiler/log"
	"golang.org/x/sys/unix"

	"sockleak/internal/tracepoint"
)

const (
	// traceRing is the size of the profiler's ring, in bytes.
	traceRing = 8 << 20
	// fresh is how long the kernel side takes a stack for known. Interpreters
	// move and free what their frames point to, and then the same numbers
	// stand for another function.
	fresh = 10 * time.Second
)

// Options says whose stacks are taken.
type Options struct {
	PIDs     []uint32 // thread group ids of the initial pid namespace; empty: all
	Children bool     // with PIDs: also what they fork from now on
	// Ahead are files to be read before the first stack is wanted: the code that PIDs
	// are expected to begin with, which then only wait to exec it. nil: they run, and
	// are what is read.
	Ahead []string
	Log   *slog.Logger // of the profiler; nil: nobody hears it
	// MaxStacks is how many distinct stacks are held; 32,768 by default. Those
	// that were not seen for the longest time go first.
	MaxStacks int
	// Call has programs called for the sockets whose stacks are wanted, at the
	// return of the calls that made them, until the Closer is closed: result for
	// those that return the descriptor, pair for socketpair. nil: all stacks are
	// wanted, and the Tier attaches the programs itself.
	Call func(result, pair *ebpf.Program) (io.Closer, error)
	// Uses has the stacks of uses taken too; nil: none are.
	Uses Uses
}

// Uses is who sends the uses of sockets (event.Use), and calls the Tier after each.
type Uses interface {
	// Walks is the map of bpf/usewalk.h.
	Walks() *ebpf.Map
	// Walk has a program tail-called after each use whose stack is wanted, until the
	// Closer is closed.
	Walk(*ebpf.Program) (io.Closer, error)
}

// Birth says which stack a socket was made on, or used on.
type Birth struct {
	Time     uint64 // ns of CLOCK_MONOTONIC, at the return of the call
	Inode    uint64 // of the socket; of a socketpair, the first's, which stands for both
	Use      uint64 // Time of the event.Use that it is the stack of; zero: of the creation
	Stack    uint64 // for Resolve; zero if there is none
	PID, TID uint32
}

// Loss counts what is missing. All counters only grow.
type Loss struct {
	Asked    uint64 // sockets, and uses of them, whose stack was asked for
	RingFull uint64 // of them, those whose Birth found no place
	NotRun   uint64 // of them, those for which the unwinder could not be called, or was at work for another thread
	Repeated uint64 // no loss: of them, those whose stack was known already
	Unknown  uint64 // of the Births read, those of processes that weren't known yet
}

// Tier is the running profiler. Poll and Loss are for one goroutine, Resolve and
// Learn for any.
type Tier struct {
	unwinder *unwinder
	manager  *manager
	stacks   *stacks
	memlock  *memlock
	links    []io.Closer
	births   *ringbuf.Reader
	record   ringbuf.Record
	since    uint64
	unknown  uint64
	dead     atomic.Pointer[error]
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// Start loads the profiler and attaches it, which takes a second or two. Whoever
// calls it closes the Tier. ctx bounds only the start.
func Start(ctx context.Context, o Options) (*Tier, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	logger := o.Log
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	// The profiler has one logger for all of its instances.
	profilerlog.SetLogger(*logger)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &Tier{unwinder: &unwinder{opts: o}, memlock: newMemlock(), cancel: cancel}
	t.stacks = newStacks(o.MaxStacks)
	if err := t.memlock.during(func() error { return t.start(ctx, run) }); err != nil {
		return nil, errors.Join(fmt.Errorf("start deep stacks: %w", err), t.Close())
	}
	return t, nil
}

// start is the list of what is started; Close undoes it.
func (t *Tier) start(ctx, run context.Context) error {
	if err := t.unwinder.load(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t.stacks.known = t.unwinder.own.Known
	var err error
	if t.births, err = ringbuf.NewReader(t.unwinder.own.Births); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	if t.manager, err = newManager(run, t.unwinder.loader, t.stacks); err != nil {
		return err
	}
	if err := t.manager.ahead(t.unwinder.opts.Ahead); err != nil {
		return err
	}
	t.work.Go(func() {
		t.ended(t.memlock.during(t.manager.learn))
	})
	t.work.Go(func() {
		t.ended(t.manager.handle(func(id uint64) { t.stacks.current = id }))
	})
	// They take a moment, so they come before the first stack is wanted.
	if t.unwinder.opts.Ahead == nil {
		if err := t.Learn(t.unwinder.opts.PIDs...); err != nil {
			return err
		}
	}
	if err := t.attach(); err != nil {
		return err
	}
	t.since = now()
	return nil
}

// ended notes why there will be no more stacks.
func (t *Tier) ended(err error) {
	if err != nil {
		t.dead.CompareAndSwap(nil, &err)
	}
}

// Since returns when the Tier began to take stacks, in ns of CLOCK_MONOTONIC.
func (t *Tier) Since() uint64 { return t.since }

// Err says why no more stacks come; nil while they do.
func (t *Tier) Err() error {
	if err := t.dead.Load(); err != nil {
		return fmt.Errorf("the profiler stopped: %w", *err)
	}
	return nil
}

// Learn has the profiler look at processes that live already, so that it knows
// them at their next socket. It doesn't wait for it.
func (t *Tier) Learn(pids ...uint32) error {
	for _, pid := range pids {
		if _, err := t.unwinder.own.LearnNow.Run(&ebpf.RunOptions{Context: uint64(pid)}); err != nil {
			return fmt.Errorf("have process %d looked at: %w", pid, err)
		}
	}
	return nil
}

// Close detaches and lets go of everything. Stacks resolve no more.
func (t *Tier) Close() error {
	errs := []error{tracepoint.CloseAll(t.links)}
	t.links = nil
	t.cancel()
	errs = append(errs, t.manager.close())
	t.manager = nil
	if err := t.wait(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if t.births != nil {
		errs = append(errs, t.births.Close())
		t.births = nil
	}
	errs = append(errs, t.unwinder.close(), t.stacks.close())
	return errors.Join(errs...)
}

// maxEnding is how long Close waits for a profiler that stopped with a panic, which may
// have left its lock locked.
const maxEnding = time.Second

// wait waits for what runs beside.
func (t *Tier) wait() error {
	done := make(chan struct{})
	go func() {
		t.work.Wait()
		close(done)
	}()
	var limit <-chan time.Time
	if t.Err() != nil {
		limit = time.After(maxEnding)
	}
	select {
	case <-done:
		return nil
	case <-limit:
		return errors.New("the profiler does not end")
	}
}

func now() uint64 {
	var ts unix.Timespec
	// clock_gettime(2) fails only for a bad pointer or clock.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano())
}
