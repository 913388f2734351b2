// Package asked finds out where a program asked for a socket, when that is not
// where it was made. An event loop makes a socket in a later tick, when the code
// that wanted it has returned; but in programs on libuv (Node, uvloop and others)
// that code made a handle, and the stack is taken there, by uprobes in the
// processes that have libuv mapped, and in no other. Later the socket is made
// inside a function that is called with the handle.
//
// Only complete stacks are taken: those by frame pointers end in the interpreter.
package asked

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"sockleak/internal/deepstack"
	"sockleak/internal/tracepoint"
)

// Ask is a socket and the stack of the code that asked for it.
type Ask struct {
	Time  uint64 // ns of CLOCK_MONOTONIC, at the return of socket(2)
	Inode uint64
	// Stacks are numbers for deepstack.Tier.Resolve: that of the handle, then of
	// the one that was closed right after this one was made, and so on, zero for
	// none. A program can do that by chance; see Replaced.
	Stacks [4]uint64
	// Calls tell the calls apart that made these handles, by less than a stack, as
	// event.Event.Call does; zero where there is no budget. Spared says whose
	// stacks were left out, to stay within it.
	Calls    [4]uint64
	Spared   [4]bool
	PID, TID uint32
	// Started is, in a program of Go, where the go statement that started the
	// goroutine returns to: an address of the process. Then there are no Stacks.
	Started uint64
}

// Loss counts what is missing. All counters only grow.
type Loss struct {
	Handles uint64 // handles whose stack was asked for
	Full    uint64 // of them, those that found no place
	Unknown uint64 // of them, those made before the profiler knew the process
	Spared  uint64 // no loss: of them, those left out to stay within the budget
	Busy    uint64 // of them, those that another walk on the same CPU stood in the way of
	NotRun  uint64 // of them, those for which the unwinder could not be called
	Unread  uint64 // times that a stack could not be read to see which handle a socket is for
	Ring    uint64 // sockets whose Ask found no place
}

// Tracer takes the stacks. Poll is for one goroutine, the rest for any.
type Tracer struct {
	own     objects
	uprobes *deepstack.Uprobes
	links   []io.Closer
	asks    *ringbuf.Reader
	record  ringbuf.Record
	follow  *follower
}

// Budget bounds the stacks that are taken of one process, together with those that
// are taken where sockets are made: see bpf/budget.h.
type Budget struct {
	Rate uint32 // stacks in a second; zero: all
	// Processes and Calls are the maps budgets and calls_walked of who takes the
	// others; nil: nobody does.
	Processes, Calls *ebpf.Map
}

// maps are those that are shared.
func (b *Budget) maps() map[string]*ebpf.Map {
	if b.Processes == nil {
		return nil
	}
	return map[string]*ebpf.Map{askedMapBudgets: b.Processes, askedMapCallsWalked: b.Calls}
}

// Open loads the programs, which stand on those of tier. They cost nothing until
// there is a process with libuv or of Go. Whoever calls it closes the Tracer, before tier.
func Open(tier *deepstack.Tier, budget Budget) (*Tracer, error) {
	t := &Tracer{}
	if err := t.open(tier, budget); err != nil {
		return nil, errors.Join(fmt.Errorf("trace where sockets are asked for: %w", err), t.Close())
	}
	return t, nil
}

// open is the list of what is started; Close undoes it.
func (t *Tracer) open(tier *deepstack.Tier, budget Budget) error {
	spec, err := loadAsked()
	if err != nil {
		return fmt.Errorf("read the BPF programs: %w", err)
	}
	if err := spec.Variables[askedVarCfgStackRate].Set(budget.Rate); err != nil {
		return fmt.Errorf("set %s: %w", askedVarCfgStackRate, err)
	}
	if t.uprobes, err = tier.ForUprobes(spec); err != nil {
		return err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: budget.maps()})
	if err != nil {
		return fmt.Errorf("load the BPF programs: %w", err)
	}
	defer coll.Close() // of what isn't assigned
	if err := coll.Assign(&t.own); err != nil {
		return fmt.Errorf("take the BPF programs: %w", err)
	}
	for slot, p := range map[askedAskNext]*ebpf.Program{askedAskNextASK_UNWIND: t.uprobes.Entry, askedAskNextASK_SEND: t.uprobes.Send} {
		if err := t.own.Nexts.Put(uint32(slot), p); err != nil {
			return fmt.Errorf("put %s into the prog array: %w", p, err)
		}
	}
	if err := t.uprobes.StopAt(t.own.Stop); err != nil {
		return err
	}
	if t.asks, err = ringbuf.NewReader(t.own.Asks); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	attach, err := t.attacher()
	if err != nil {
		return err
	}
	t.follow = follow(&t.own, attach)
	return nil
}

// attacher returns what attaches to the tracepoints; after an error it may be called
// again. Each program there costs every
// socket of the machine something, so that is for when it is of use; but by then
// the privilege to look for the tracepoints may have been given up.
func (t *Tracer) attacher() (func() error, error) {
	ids, err := tracepoint.Open()
	if err != nil {
		return nil, fmt.Errorf("open tracefs: %w", err)
	}
	defer ids.Close()
	at := map[uint64]*ebpf.Program{}
	for name, p := range map[string]*ebpf.Program{
		"sys_exit_socket": t.own.Socket, "sys_exit_accept": t.own.Accept, "sys_exit_accept4": t.own.Accept,
	} {
		id, err := ids.ID("syscalls", name)
		if err != nil {
			return nil, fmt.Errorf("find tracepoint %s: %w", name, err)
		}
		at[id] = p
	}
	return func() error {
		for id, p := range at {
			l, err := tracepoint.Attach(id, p)
			if err != nil {
				return fmt.Errorf("attach %s: %w", p, err)
			}
			t.links = append(t.links, l)
			delete(at, id) // it isn't attached again if another fails
		}
		return nil
	}, nil
}

// Close detaches from everything.
func (t *Tracer) Close() error {
	var errs []error
	if t.follow != nil {
		errs = append(errs, t.follow.close())
	}
	errs = append(errs, tracepoint.CloseAll(t.links))
	if t.asks != nil {
		errs = append(errs, t.asks.Close())
	}
	errs = append(errs, t.own.close())
	if t.uprobes != nil {
		errs = append(errs, t.uprobes.Close())
	}
	return errors.Join(errs...)
}

// Poll hands over the Asks there are, in the order of each thread, without
// waiting.
func (t *Tracer) Poll(f func(Ask)) error {
	t.asks.SetDeadline(time.Unix(1, 0)) // long past: don't wait
	for {
		err := t.asks.ReadInto(&t.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer of requests: %w", err)
		}
		a, err := decode(t.record.RawSample)
		if err != nil {
			return err
		}
		f(a)
	}
}

// decode reads a struct ask.
func decode(raw []byte) (Ask, error) {
	var r askedAsk
	if len(raw) < int(unsafe.Sizeof(r)) {
		return Ask{}, fmt.Errorf("decode a request: %d bytes, not %d", len(raw), unsafe.Sizeof(r))
	}
	order := binary.NativeEndian
	a := Ask{
		Time:  order.Uint64(raw[unsafe.Offsetof(r.Time):]),
		Inode: order.Uint64(raw[unsafe.Offsetof(r.Inode):]),
		PID:   order.Uint32(raw[unsafe.Offsetof(r.Pid):]),
		TID:   order.Uint32(raw[unsafe.Offsetof(r.Tid):]),
	}
	if askedAskVia(order.Uint32(raw[unsafe.Offsetof(r.Via):])) == askedAskViaVIA_GO {
		a.Started = order.Uint64(raw[unsafe.Offsetof(r.Stacks):])
		return a, nil
	}
	spared := order.Uint32(raw[unsafe.Offsetof(r.Spared):])
	for i := range a.Stacks {
		a.Stacks[i] = order.Uint64(raw[unsafe.Offsetof(r.Stacks)+8*uintptr(i):])
		a.Calls[i] = order.Uint64(raw[unsafe.Offsetof(r.Calls)+8*uintptr(i):])
		a.Spared[i] = spared&(1<<i) != 0
	}
	return a, nil
}

// Loss reads the counters.
func (t *Tracer) Loss() (Loss, error) {
	var sums [askedAskCounterASK_COUNTERS]uint64
	for i := range sums {
		var each []uint64
		if err := t.own.Counters.Lookup(uint32(i), &each); err != nil {
			return Loss{}, fmt.Errorf("read counter %d: %w", i, err)
		}
		for _, n := range each {
			sums[i] += n
		}
	}
	return Loss{
		Handles: sums[askedAskCounterASK_HANDLES], Full: sums[askedAskCounterASK_HANDLES_FULL],
		Unknown: sums[askedAskCounterASK_UNKNOWN], Busy: sums[askedAskCounterASK_BUSY],
		Spared: sums[askedAskCounterASK_SPARED],
		NotRun: sums[askedAskCounterASK_NOT_RUN], Unread: sums[askedAskCounterASK_UNREAD], Ring: sums[askedAskCounterASK_RING_FULL],
	}, nil
}
