// Package probe is the kernel side of sockleak: it loads the programs of bpf/,
// attaches them, and hands over what they record as raw bytes, which Decode and
// DecodeRow turn into events. Only this package knows cilium/ebpf's objects.
package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/tracepoint"
)

// Probe is the programs, loaded and attached. Its methods are not safe for use
// by several goroutines at once.
type Probe struct {
	constants map[string]any
	objects   bpfObjects
	spare     *ebpf.Program // the second exit_socket; nil: there is none
	uses      *Uses         // nil unless wanted
	links     []io.Closer
	ring      *ringbuf.Reader
	record    ringbuf.Record
	aside     aside
	copies    *ringbuf.Reader // nil: none are taken
	steps     walkSteps
	// copyRecord is reused.
	copyRecord ringbuf.Record
	snap       *Snapshotter
	missing    []string
}

// Open loads the programs and attaches them; events flow from then on. Whoever
// calls it has run the preflight and closes the Probe.
func Open(cfg Config) (*Probe, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	p := &Probe{}
	if err := p.open(cfg); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) open(cfg Config) error {
	spec, err := loadBpf()
	if err != nil {
		return err
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	kernel, err := cfg.Types.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's types: %w", err)
	}
	twice, err := tracepoint.Preempted(kernel)
	if err != nil {
		return err
	}
	twice = twice || cfg.preempted
	if p.constants, err = constants(cfg, twice); err != nil {
		return err
	}
	if err := set(spec, p.constants); err != nil {
		return err
	}
	size(spec, cfg, twice)
	if err := p.load(spec, cfg.Types, twice); err != nil {
		return err
	}
	if err := p.fill(cfg.Scope); err != nil {
		return err
	}
	if cfg.LastUse {
		if p.uses, err = loadUseObjects(cfg, p.constants, &p.objects.bpfMaps); err != nil {
			return err
		}
	}
	if p.ring, err = ringbuf.NewReader(p.objects.Events); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	if p.steps.memory, err = p.objects.WalkSteps.Memory(); err != nil {
		return fmt.Errorf("map the steps of stacks: %w", err)
	}
	if cfg.Copies > 0 {
		if p.copies, err = ringbuf.NewReader(p.objects.Copies); err != nil {
			return fmt.Errorf("open the ring buffer of stacks: %w", err)
		}
	}
	if p.snap, err = newSnapshotter(p.objects.TaskFile); err != nil {
		return err
	}
	if err := p.attachEvents(); err != nil {
		return err
	}
	return p.attachCalls()
}

// load loads the programs, and the one that makes origins known a second time if it is
// to be attached twice.
func (p *Probe) load(spec *ebpf.CollectionSpec, types *btf.Cache, twice bool) error {
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return fmt.Errorf("load the BPF programs: %w", err)
	}
	defer coll.Close() // of what isn't assigned
	if twice {
		if p.spare, err = loadSpare(spec, types, coll.Maps); err != nil {
			return err
		}
	}
	if err := coll.Assign(&p.objects); err != nil {
		return fmt.Errorf("take the BPF programs: %w", err)
	}
	return nil
}

// loadSpare loads exit_socket with the maps of the others, as the second of two.
func loadSpare(spec *ebpf.CollectionSpec, types *btf.Cache, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	const name = bpfProgExitSocket
	only := spec.Copy()
	only.Programs = map[string]*ebpf.ProgramSpec{name: only.Programs[name]}
	if err := only.Variables[bpfVarCfgSpare].Set(true); err != nil {
		return nil, fmt.Errorf("set %s: %w", bpfVarCfgSpare, err)
	}
	shared := map[string]*ebpf.Map{}
	for name, m := range maps {
		if _, has := only.Maps[name]; has && !strings.HasPrefix(name, ".") {
			shared[name] = m
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{Cache: types, MapReplacements: shared})
	if err != nil {
		return nil, fmt.Errorf("load %s again: %w", name, err)
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

func (p *Probe) fill(s Scope) error {
	for _, pid := range s.PIDs {
		if err := p.AddTarget(pid); err != nil {
			return err
		}
	}
	for rule, names := range map[bpfCommRule][]string{
		bpfCommRuleCOMM_ONLY: s.Comms, bpfCommRuleCOMM_EXCLUDE: s.Exclude,
	} {
		for _, name := range names {
			var key [16]byte
			copy(key[:15], name) // TASK_COMM_LEN is 16 with the final zero
			if err := p.objects.Comms.Put(key, uint32(rule)); err != nil {
				return fmt.Errorf("add the name %q to the filter: %w", name, err)
			}
		}
	}
	return nil
}

// AddTarget takes a process into a Scope that has PIDs.
func (p *Probe) AddTarget(pid uint32) error {
	if err := p.objects.Targets.Put(pid, uint8(1)); err != nil {
		return fmt.Errorf("add process %d to the filter: %w", pid, err)
	}
	return nil
}

func (p *Probe) attachEvents() error {
	o := &p.objects
	for _, prog := range []*ebpf.Program{o.ProcessExit, o.ProcessExec, o.ProcessFork, o.TcpDestroy, o.TcpState} {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", prog, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

func (p *Probe) attachCalls() error {
	ids, err := tracepoint.Open()
	if err != nil {
		return err
	}
	defer ids.Close()
	for _, h := range hooks() {
		err := p.attachCall(ids, h.name, h.program(&p.objects.bpfPrograms))
		if h.optional && errors.Is(err, tracepoint.ErrNotFound) && !errors.Is(err, tracepoint.ErrNoSyscalls) {
			p.missing = append(p.missing, h.name)
			continue
		}
		if err != nil {
			return err
		}
	}
	if p.spare != nil {
		for _, h := range births(&p.objects.bpfPrograms) {
			if err := p.attachCall(ids, h.name, p.spare); err != nil {
				return err
			}
		}
	}
	if p.uses == nil {
		return nil
	}
	for name, program := range useHooks(&p.uses.objects.usesPrograms) {
		if err := p.attachCall(ids, name, program); err != nil {
			return err
		}
	}
	return nil
}

func (p *Probe) attachCall(ids *tracepoint.IDs, name string, program *ebpf.Program) error {
	l, err := attach(ids, name, program)
	if err != nil {
		return err
	}
	p.links = append(p.links, l)
	return nil
}

func attach(ids *tracepoint.IDs, name string, program *ebpf.Program) (io.Closer, error) {
	id, err := ids.ID("syscalls", name)
	if err != nil {
		return nil, err
	}
	l, err := tracepoint.Attach(id, program)
	if err != nil {
		return nil, fmt.Errorf("attach to syscalls/%s: %w", name, err)
	}
	return l, nil
}

// Missing names the optional hooks this kernel doesn't have.
func (p *Probe) Missing() []string { return p.missing }

// Walk has other programs called for the sockets whose stacks are not left out, at
// the return of the calls that made them, until the Closer is closed: result for
// those that return the descriptor, pair for socketpair. What is attached to those calls
// from then on runs after them.
func (p *Probe) Walk(result, pair *ebpf.Program) (io.Closer, error) {
	ids, err := tracepoint.Open()
	if err != nil {
		return nil, err
	}
	defer ids.Close()
	w := &walking{programs: p.objects.Walkers}
	for slot, program := range map[bpfWalker]*ebpf.Program{bpfWalkerWALKER_RESULT: result, bpfWalkerWALKER_PAIR: pair} {
		if err := w.programs.Put(uint32(slot), program); err != nil {
			return nil, errors.Join(fmt.Errorf("put %s into the prog array: %w", program, err), w.Close())
		}
	}
	for _, h := range births(&p.objects.bpfPrograms) {
		l, err := attach(ids, h.name, p.objects.WalkBirth)
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		w.links = append(w.links, l)
	}
	return w, nil
}

// walking is what calls the programs of Walk, and the prog array with them.
type walking struct {
	links    []io.Closer
	programs *ebpf.Map
}

// Close implements io.Closer.
func (w *walking) Close() error {
	errs := []error{tracepoint.CloseAll(w.links)}
	for _, slot := range []bpfWalker{bpfWalkerWALKER_RESULT, bpfWalkerWALKER_PAIR} {
		if err := w.programs.Delete(uint32(slot)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("take a program out of the prog array: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Scope returns the constants and maps of bpf/scope.h, for those who trace the same
// processes: our own, enum scope_rule, the processes and the names.
func (p *Probe) Scope() (self, rules uint32, targets, comms *ebpf.Map) {
	return p.constants[bpfVarCfgSelf].(uint32), p.constants[bpfVarCfgScope].(uint32), p.objects.Targets, p.objects.Comms
}

// Budget returns the maps of bpf/budget.h, for those who take more stacks of the
// same processes.
func (p *Probe) Budget() (processes, calls *ebpf.Map) {
	return p.objects.Budgets, p.objects.CallsWalked
}

// Read calls f with every record until the deadline has passed and the ring is
// empty, or max records were read. It looks at the deadline, and when the kernel
// wakes it for a new stack. The bytes are valid during the call.
func (p *Probe) Read(deadline time.Time, max int, f func(record []byte)) error {
	max -= p.aside.take(max, f)
	p.ring.SetDeadline(deadline)
	for range max {
		err := p.ring.ReadInto(&p.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		f(p.record.RawSample)
	}
	return nil
}

// Snapshot calls f with a row for every descriptor of every process that refers
// to a socket; see Snapshotter.
func (p *Probe) Snapshot(f func(row []byte)) (start, end uint64, err error) {
	return p.snap.Snapshot(f)
}

// Loss returns the kernel side's counters.
func (p *Probe) Loss() (event.Loss, error) {
	var loss event.Loss
	var takenOver uint64
	counters, err := p.objects.Counters.Memory()
	if err != nil {
		return loss, fmt.Errorf("map the loss counters: %w", err)
	}
	for which, to := range map[bpfCounter]*uint64{
		bpfCounterCOUNT_RING_FULL:     &loss.RingFull,
		bpfCounterCOUNT_MAP_FULL:      &loss.MapFull,
		bpfCounterCOUNT_STACK_MISSING: &loss.StackMissing,
		bpfCounterCOUNT_UNFOLLOWED:    &loss.StateSkipped,
		bpfCounterCOUNT_TAKEN_OVER:    &takenOver,
	} {
		var n [8]byte
		if _, err := counters.ReadAt(n[:], int64(which)*int64(len(n))); err != nil {
			return loss, fmt.Errorf("read the loss counters: %w", err)
		}
		*to = binary.NativeEndian.Uint64(n[:])
	}
	o := &p.objects
	missed, err := tracepoint.Skipped(o.ExitSocket)
	if err != nil {
		return loss, err
	}
	programs := []*ebpf.Program{o.ProcessExit, o.ProcessExec, o.ProcessFork}
	for _, h := range hooks() {
		if program := h.program(&o.bpfPrograms); program != o.ExitSocket && !slices.Contains(programs, program) {
			programs = append(programs, program)
		}
	}
	if loss.ProbeSkipped, err = tracepoint.Skipped(programs...); err != nil {
		return loss, err
	}
	loss.ProbeSkipped += missed - min(takenOver, missed)
	// An interrupt that changes a state while another change is being handled
	// on the same CPU doesn't run the program again.
	n, err := tracepoint.Skipped(o.TcpState, o.TcpDestroy)
	loss.StateSkipped += n
	return loss, err
}

// Close detaches everything; the kernel frees the programs and maps.
func (p *Probe) Close() error {
	errs := []error{tracepoint.CloseAll(p.links)}
	if p.ring != nil {
		errs = append(errs, p.ring.Close())
	}
	if p.copies != nil {
		errs = append(errs, p.copies.Close())
	}
	if p.snap != nil {
		errs = append(errs, p.snap.Close())
	}
	if p.uses != nil {
		errs = append(errs, p.uses.close())
	}
	if p.spare != nil {
		errs = append(errs, p.spare.Close())
	}
	errs = append(errs, p.objects.Close())
	return errors.Join(errs...)
}

// Now is the clock of the kernel's events: ns of CLOCK_MONOTONIC.
func Now() uint64 {
	var ts unix.Timespec
	// clock_gettime(2) fails only for a clock the kernel doesn't have.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano())
}

// HZ is the number of jiffies in a second: the coarse clocks advance by one tick
// (hrtimer.c: hrtimer_resolution, posix-timers.c: posix_get_coarse_res).
func HZ() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("read the clock tick: %w", err)
	}
	if ts.Nano() <= 0 {
		return 0, errors.New("the clock tick is zero")
	}
	return uint64((1_000_000_000 + ts.Nano()/2) / ts.Nano()), nil
}
