package deepstack

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"go.opentelemetry.io/ebpf-profiler/support"
)

// The kernel runs programs of kprobe type at uprobes, and those can't tail-call
// ours, which are of tracepoint type. So the profiler's programs are loaded a
// second time for them, with a prog array and a per-CPU record of their own.

// Uprobes is the unwinder for programs at uprobes.
type Uprobes struct {
	// Entry is to be tail-called to have the stack of the acting thread walked,
	// and Send to send it with the number that stands in the record's value.
	Entry, Send *ebpf.Program
	theirs      *programs
}

// Close lets go of the programs.
func (u *Uprobes) Close() error { return u.theirs.close() }

// StopAt has the profiler tail-call p, of kprobe type, when it has walked a stack.
func (u *Uprobes) StopAt(p *ebpf.Program) error {
	if err := u.theirs.progs.Put(uint32(support.ProgUnwindStop), p); err != nil {
		return fmt.Errorf("put %s into the profiler's prog array: %w", p, err)
	}
	return nil
}

// ForUprobes prepares the unwinder for the programs in own, whose declarations of
// bpf/profiler.h it fills in: the layout of the record, the maps it names,
// known_stacks, and as per_cpu_records_kp the record. The numbers that its programs
// give to stacks are for Has and Resolve. It takes about a second.
func (t *Tier) ForUprobes(own *ebpf.CollectionSpec) (*Uprobes, error) {
	theirs, err := t.unwinder.loader.load(false)
	if err != nil {
		return nil, fmt.Errorf("prepare the unwinder for uprobes: %w", err)
	}
	u := &Uprobes{Entry: theirs.by[entry], Send: theirs.by[stopName], theirs: theirs}
	if err := t.bind(own, theirs); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the unwinder for uprobes: %w", err), u.Close())
	}
	return u, nil
}

// bind fills in what own declares.
func (t *Tier) bind(own *ebpf.CollectionSpec, theirs *programs) error {
	layout, err := recordLayout()
	if err != nil {
		return err
	}
	layout["cfg_fresh_ns"] = uint64(fresh / time.Nanosecond)
	for name, value := range layout {
		if v := own.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				return fmt.Errorf("set variable %s: %w", name, err)
			}
		}
	}
	maps := map[string]*ebpf.Map{"known_stacks": t.unwinder.own.Known, "per_cpu_records_kp": theirs.records}
	for name := range own.Maps {
		if m := t.unwinder.loader.maps[name]; m != nil {
			maps[name] = m
		}
	}
	return associate(own, maps)
}
