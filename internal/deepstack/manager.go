package deepstack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/ringbuf"
	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/processmanager"
	processmaps "go.opentelemetry.io/ebpf-profiler/processmanager/ebpf"
	"go.opentelemetry.io/ebpf-profiler/reporter/samples"
	"go.opentelemetry.io/ebpf-profiler/support"
	"go.opentelemetry.io/ebpf-profiler/times"

	"sockleak/internal/elfguard"
)

const (
	// turn is how often what ended processes left is let go of, and maxBatch how
	// many stacks are read at most before that.
	turn     = 10 * time.Millisecond
	maxBatch = 4096
	// resync is how often processes are looked at that asked for it without
	// a signal that arrived.
	resync = time.Second
	// cleanup is how often those are looked for that ended unseen, and how long
	// the tables of a file that nobody has mapped are kept.
	cleanup = 5 * time.Minute
	// frameCache is the number of frames whose names are remembered.
	frameCache = 16384
)

// manager is the profiler's process manager between the kernel side, which tells it
// of processes and stacks, and the reporter, which gets the named frames. The
// profiler's tracer package does the same, but loads all of its programs twice
// before it lets others load theirs.
type manager struct {
	processes *processmanager.ProcessManager
	waiting   *ebpf.Map // processes to be looked at
	inhibit   *ebpf.Map // set while a signal is on its way
	signals   *perf.Reader
	traces    *ringbuf.Reader
	kind      samples.TypeMetadata
	rubies    rubies
}

// newManager makes a manager. Its own goroutines end with ctx.
func newManager(ctx context.Context, l *loader, s *stacks) (*manager, error) {
	handler, err := processmaps.LoadMaps(ctx, languages(), l.maps, l.spec.Maps[deltasName(support.StackDeltaBucketSmallest)].InnerMap)
	if err != nil {
		return nil, fmt.Errorf("take the profiler's maps: %w", err)
	}
	m := &manager{
		waiting: l.maps["pid_events"], inhibit: l.maps["inhibit_events"], kind: samples.TypeMetadata{SampleType: "socket", SampleUnit: "count"},
		rubies: rubies{l.maps["ruby_procs"], map[uint32]support.RubyProcInfo{}},
	}
	m.processes, err = processmanager.New(ctx, processmanager.Config{
		InterpretersConfig: languages(), MonitorInterval: resync, ExecutableUnloadDelay: cleanup,
		EbpfHandler: handler, TraceReporter: s, ExecutableReporter: s.files,
		StackDeltaProvider: newProvider(), FrameCacheSize: frameCache,
	})
	if err != nil {
		return nil, fmt.Errorf("start the profiler: %w", err)
	}
	if m.signals, err = perf.NewReader(l.maps["report_events"], os.Getpagesize()); err != nil {
		return nil, fmt.Errorf("open the buffer of processes: %w", err)
	}
	if m.traces, err = ringbuf.NewReader(l.maps["trace_events"]); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ring buffer of frames: %w", err), m.signals.Close())
	}
	return m, nil
}

// close ends learn and handle.
func (m *manager) close() error {
	if m == nil {
		return nil
	}
	return errors.Join(m.signals.Close(), m.traces.Close())
}

// learn looks at the processes that the kernel side tells of, until close.
func (m *manager) learn() error {
	var signal perf.Record
	next := time.Now().Add(cleanup)
	for {
		m.signals.SetDeadline(time.Now().Add(resync))
		err := m.signals.ReadInto(&signal)
		if errors.Is(err, perf.ErrClosed) {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("read the buffer of processes: %w", err)
		}
		if err := m.look(); err != nil {
			return err
		}
		if time.Now().After(next) {
			m.processes.CleanupPIDs()
			next = time.Now().Add(cleanup)
		}
	}
}

// look looks at the processes that wait for it.
func (m *manager) look() error {
	// Before the processes are taken: of one that comes meanwhile there is to
	// be a signal.
	err := m.inhibit.Delete(uint32(support.EventTypeGenericPID))
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("have signals of processes sent: %w", err)
	}
	waiting, err := m.take()
	if err != nil {
		return fmt.Errorf("take the processes to be looked at: %w", err)
	}
	for _, id := range waiting {
		p := process.New(id.PID(), id.PID())
		if id.TID() == 0 { // it runs another program than before
			if err := m.synchronize(empty{p}); err != nil {
				return err
			}
		}
		if err := m.synchronize(p); err != nil {
			return err
		}
	}
	return nil
}

// empty is a process that has nothing mapped, as all that the profiler knows of one is
// forgotten by exec: where the next program has the same interpreter, it would go on with
// the addresses that that had in the one before (v0.0.202633,
// processmanager/processinfo.go, handleNewInterpreter).
type empty struct{ process.Process }

// IterateMappings implements process.Process.
func (empty) IterateMappings(func(process.RawMapping) bool) (uint32, error) { return 0, nil }

// take returns the processes that wait, which then no longer do.
//
// They are taken one by one. For a batch the kernel goes through all 65,536 buckets, and
// until it is done it runs no tracepoint's program for whoever else gets that CPU
// (kernel/bpf/hashtab.c: bpf_disable_instrumentation): where it is preempted, what they
// do goes unseen.
func (m *manager) take() ([]libpf.PIDTID, error) {
	var key uint64
	var all []libpf.PIDTID
	err := m.waiting.NextKey(nil, &key)
	for ; err == nil; err = m.waiting.NextKey(key, &key) {
		all = append(all, libpf.PIDTID(key))
	}
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, err
	}
	for _, p := range all {
		if err := m.waiting.Delete(uint64(p)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, err
		}
	}
	return all, nil
}

// handle reads the stacks and has their frames named, until close. begin is called
// with the number of each before.
func (m *manager) handle(begin func(id uint64)) error {
	var record ringbuf.Record
	var trace libpf.EbpfTrace
	var before times.KTime // the oldest of the batch before
	var last times.KTime   // when the turn before began
	for {
		began := times.GetKTime()
		// The stack of a new socket wakes this, see wake_reader of
		// bpf/deepstack.bpf.c: the names of the frames of an interpreter are read
		// from its memory, and it may end.
		m.traces.SetDeadline(time.Now().Add(turn))
		var oldest times.KTime
		for range maxBatch {
			err := m.traces.ReadInto(&record)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if errors.Is(err, ringbuf.ErrClosed) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read the ring buffer of frames: %w", err)
			}
			if err := readTrace(record.RawSample, &trace); err != nil {
				return err
			}
			if t := times.KTime(trace.KTime); oldest == 0 || t < oldest {
				oldest = t
			}
			begin(uint64(trace.Value))
			// A stack that can't be named is lost, and told to be.
			_ = elfguard.Do("names of frames", func() error {
				m.processes.HandleTrace(&trace, &m.kind)
				return nil
			})
		}
		// What processes that ended have left is kept until their stacks are
		// through. Stacks of two CPUs may come in another order than they
		// were taken, so the batch before is what is certain. Where none came,
		// those of the turn before are through, if there were any.
		switch {
		case before == 0 && oldest == 0:
			m.processes.ProcessedUntil(last)
		case before != 0:
			until := before
			if oldest != 0 && oldest <= before {
				until, oldest = oldest, 0
			}
			m.processes.ProcessedUntil(until)
		}
		before, last = oldest, began
	}
}

// readTrace reads a record of the profiler's: struct Trace of support/ebpf/types.h
// of its source, with as many frames as there are. The kernel's are left out.
func readTrace(raw []byte, t *libpf.EbpfTrace) error {
	var r support.Trace
	const frames = unsafe.Offsetof(r.Frame_data)
	if uintptr(len(raw)) < frames {
		return fmt.Errorf("read a stack of the profiler: %d bytes, not %d", len(raw), frames)
	}
	order := binary.NativeEndian
	words := uintptr(order.Uint16(raw[unsafe.Offsetof(r.Frame_data_len):]))
	skip := uintptr(order.Uint16(raw[unsafe.Offsetof(r.Num_kernel_frames):]))
	if uintptr(len(raw)) < frames+8*words || skip > words || words > uintptr(len(t.FrameDataBuf)) {
		return fmt.Errorf("read a stack of the profiler: %d words, %d of the kernel, in %d bytes", words, skip, len(raw))
	}
	t.FrameData = t.FrameDataBuf[:words-skip]
	for i := range t.FrameData {
		t.FrameData[i] = order.Uint64(raw[frames+8*(skip+uintptr(i)):])
	}
	t.PID = libpf.PID(order.Uint32(raw[unsafe.Offsetof(r.Pid):]))
	t.TID = libpf.PID(order.Uint32(raw[unsafe.Offsetof(r.Tid):]))
	t.KTime = int64(order.Uint64(raw[unsafe.Offsetof(r.Ktime):]))
	t.Value = int64(order.Uint64(raw[unsafe.Offsetof(r.Value):]))
	t.NumFrames = order.Uint16(raw[unsafe.Offsetof(r.Num_frames):])
	return nil
}
