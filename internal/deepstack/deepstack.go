// Package deepstack takes complete user stacks where sockets are made, native
// and interpreted frames in one, without frame pointers: the unwinder of the
// OpenTelemetry eBPF profiler, run from our own tracepoints instead of a clock.
// Only this package knows the profiler.
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
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"go.opentelemetry.io/ebpf-profiler/libpf"
	profilerlog "go.opentelemetry.io/ebpf-profiler/log"
	"go.opentelemetry.io/ebpf-profiler/support"
	"go.opentelemetry.io/ebpf-profiler/times"
	"go.opentelemetry.io/ebpf-profiler/tracer"
	"golang.org/x/sys/unix"

	"sockleak/internal/tracepoint"
)

const (
	// poll is how often the profiler looks for stacks. The names of the
	// frames of an interpreter are read from its memory, so it must be soon.
	poll = 10 * time.Millisecond
	// traceRing is the least size of the profiler's ring, in bytes.
	traceRing = 8 << 20
	// fresh is how long the kernel side takes a stack for known. Interpreters
	// move and free what their frames point to, and then the same numbers
	// stand for another function.
	fresh = 10 * time.Second
)

// Options says whose stacks are taken.
type Options struct {
	PIDs     []uint32     // thread group ids of the initial pid namespace; empty: all
	Children bool         // with PIDs: also what they fork from now on
	Log      *slog.Logger // of the profiler; nil: nobody hears it
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
	NotRun   uint64 // of them, those for which the unwinder could not be called
	Repeated uint64 // no loss: of them, those whose stack was known already
	Unknown  uint64 // of the Births read, those of processes that weren't known yet
}

// Tier is the running profiler. Poll and Loss are for one goroutine, Resolve and
// Learn for any.
type Tier struct {
	unwinder *unwinder
	tracer   *tracer.Tracer
	stacks   *stacks
	links    []io.Closer
	births   *ringbuf.Reader
	record   ringbuf.Record
	since    uint64
	unknown  uint64
	dead     atomic.Bool
	cancel   context.CancelFunc
	// stopLearning is nil if it hasn't begun.
	stopLearning context.CancelFunc
	work         sync.WaitGroup
}

// Start loads the profiler and attaches it, which takes some seconds. Whoever
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
	t := &Tier{unwinder: &unwinder{opts: o}, cancel: cancel}
	t.stacks = newStacks(o.MaxStacks)
	if err := t.stacks.files.memlock.during(func() error { return t.start(ctx, run) }); err != nil {
		return nil, errors.Join(fmt.Errorf("start deep stacks: %w", err), t.Close())
	}
	return t, nil
}

// start is the list of what is started; Close undoes it.
func (t *Tier) start(ctx, run context.Context) error {
	var err error
	t.tracer, err = newTracer(run, &tracer.Config{
		TraceReporter: t.stacks, ExecutableReporter: t.stacks.files,
		Intervals:             intervals{times.New(time.Second, time.Second, time.Minute)},
		InterpretersConfig:    languages(),
		SamplesPerSecond:      ringSamples(),
		FrameCacheSize:        frameCache,
		LoadProbe:             true,
		ProbabilisticInterval: time.Minute, ProbabilisticThreshold: tracer.ProbabilisticThresholdMax,
	})
	if err != nil {
		return fmt.Errorf("load the profiler: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.tracer.Enable(run, t.unwinder); err != nil {
		return err
	}
	t.stacks.known = t.unwinder.own.Known
	if t.births, err = ringbuf.NewReader(t.unwinder.own.Births); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	// Until after the rest has ended, because the one that tells it of processes
	// waits for it, and doesn't look meanwhile whether it is to end.
	learning, stop := context.WithCancel(context.WithoutCancel(run))
	t.stopLearning = stop
	t.tracer.StartPIDEventProcessor(learning)
	traces := make(chan *libpf.EbpfTrace, 64)
	if err := t.tracer.StartMapMonitors(run, traces); err != nil {
		return fmt.Errorf("start the profiler: %w", err)
	}
	t.work.Go(func() { t.handle(run, traces) })
	// They take a moment, so they come before the first stack is wanted.
	if err := t.Learn(t.unwinder.opts.PIDs...); err != nil {
		return err
	}
	if err := t.attach(); err != nil {
		return err
	}
	t.since = now()
	return nil
}

// newTracer tries again where the profiler misread the kernel: its program that looks
// for offsets runs for every thread of ours, and two at once spoil each other's answer
// (support/ebpf/system_config.ebpf.c in its source).
func newTracer(ctx context.Context, cfg *tracer.Config) (t *tracer.Tracer, err error) {
	for range 3 {
		t, err = tracer.NewTracer(ctx, cfg)
		// The profiler doesn't wrap it.
		if err == nil || !strings.Contains(err.Error(), "system analysis") {
			break
		}
	}
	return t, err
}

// frameCache is the number of frames whose names the profiler remembers.
const frameCache = 16384

// ringSamples is what the profiler computes the size of its ring from: room for
// so many of the largest stacks on every CPU.
func ringSamples() int {
	return max(1, traceRing/(support.Sizeof_Trace*runtime.NumCPU()))
}

// intervals are the profiler's, but for how often it looks for stacks.
type intervals struct{ *times.Times }

func (intervals) TracePollInterval() time.Duration { return poll }

// handle gives the stacks to the profiler, which names the frames of
// interpreters and calls the reporter in turn.
func (t *Tier) handle(ctx context.Context, traces <-chan *libpf.EbpfTrace) {
	for {
		select {
		case trace := <-traces:
			if trace != nil { // nil only says that all before it were taken
				t.stacks.current = uint64(trace.Value)
				t.tracer.HandleTrace(trace)
			}
		case <-t.tracer.Done():
			t.dead.Store(true)
			return
		case <-ctx.Done():
			drain(traces)
			return
		}
	}
}

// drain takes what the profiler still has to give: it waits for us before it
// looks whether it is to end, and doesn't say that it did.
func drain(traces <-chan *libpf.EbpfTrace) {
	for {
		select {
		case <-traces:
		case <-time.After(25 * poll):
			return
		}
	}
}

// Since returns when the Tier began to take stacks, in ns of CLOCK_MONOTONIC.
func (t *Tier) Since() uint64 { return t.since }

// Err says why no more stacks come; nil while they do.
func (t *Tier) Err() error {
	if err := t.stacks.files.memlock.failed.Load(); err != nil {
		return fmt.Errorf("load unwind tables: %w", *err)
	}
	if t.dead.Load() {
		return errors.New("the profiler stopped: it could not read its own data")
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
	t.work.Wait()
	if t.stopLearning != nil {
		t.stopLearning()
		t.stopLearning = nil
	}
	if t.tracer != nil {
		t.tracer.Close()
		t.tracer = nil
	}
	if t.births != nil {
		errs = append(errs, t.births.Close())
		t.births = nil
	}
	errs = append(errs, t.unwinder.close(), t.stacks.close())
	return errors.Join(errs...)
}

func now() uint64 {
	var ts unix.Timespec
	// clock_gettime(2) fails only for a bad pointer or clock.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano())
}
