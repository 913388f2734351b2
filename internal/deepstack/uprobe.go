package deepstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"go.opentelemetry.io/ebpf-profiler/support"
	"go.opentelemetry.io/ebpf-profiler/tracer"
)

// The kernel runs programs of kprobe type at uprobes, and those can't tail-call
// ours, which are of tracepoint type. But the profiler has loaded its unwinders
// as kprobe programs too, with a prog array and a per-CPU record of their own,
// and nothing else uses them.

// Uprobes is the unwinder for programs at uprobes.
type Uprobes struct {
	// Entry is to be tail-called to have the stack of the acting thread walked,
	// and Send to send it with the number that stands in the record's value.
	Entry, Send *ebpf.Program
	progs       *ebpf.Map // the profiler's own
}

// Close lets go of the programs.
func (u *Uprobes) Close() error { return errors.Join(u.Entry.Close(), u.Send.Close()) }

// StopAt has the profiler tail-call p, of kprobe type, when it has walked a stack.
func (u *Uprobes) StopAt(p *ebpf.Program) error {
	if err := u.progs.Put(uint32(support.ProgUnwindStop), p); err != nil {
		return fmt.Errorf("put %s into the profiler's prog array: %w", p, err)
	}
	return nil
}

// ForUprobes prepares the unwinder for the programs in own, whose declarations of
// bpf/profiler.h it fills in: the layout of the record, the maps it names, and
// known_stacks. The numbers that its programs give to stacks are for Has and
// Resolve. It may be called once.
func (t *Tier) ForUprobes(ctx context.Context, own *ebpf.CollectionSpec) (*Uprobes, error) {
	b := &binding{tier: t, own: own}
	err := t.stacks.files.memlock.during(func() error { return t.tracer.Enable(ctx, b) })
	if err != nil {
		return nil, fmt.Errorf("prepare the unwinder for uprobes: %w", err)
	}
	return b.made, nil
}

// binding is a tracer.Probe that attaches nothing.
type binding struct {
	tier *Tier
	own  *ebpf.CollectionSpec
	made *Uprobes
}

// Load implements tracer.Probe.
func (b *binding) Load(_ context.Context, _ tracer.ProbeRegistrar, pc *tracer.ProbeContext) (link.Link, error) {
	const send = "kprobe_unwind_stop"
	names := []string{entry, send}
	spec, err := pc.CollectionSpecWith(nil, names, []string{"origin_id_probe"})
	if err != nil {
		return nil, fmt.Errorf("take the profiler's programs: %w", err)
	}
	if err := setVariables(spec, map[string]any{"origin_id_probe": b.tier.unwinder.origin}); err != nil {
		return nil, err
	}
	if err := withoutKernel(spec.Programs[entry].Instructions); err != nil {
		return nil, err
	}
	if err := pc.RewriteMaps(spec, nil); err != nil {
		return nil, fmt.Errorf("bind the profiler's maps: %w", err)
	}
	var helpers []tracer.ProgLoaderHelper
	for _, n := range names {
		helpers = append(helpers, tracer.ProgLoaderHelper{Name: n, NoTailCallTarget: true, Enable: true})
	}
	loaded := map[string]*ebpf.Program{}
	if err := pc.LoadProbeUnwinders(spec, loaded, helpers, 0); err != nil {
		return nil, fmt.Errorf("load the profiler's programs: %w", err)
	}
	u := &Uprobes{Entry: loaded[entry], Send: loaded[send]}
	if u.progs = progArray(spec.Programs[entry].Instructions); u.progs == nil {
		return nil, errors.Join(fmt.Errorf("find the prog array of the profiler's program %s: there is none", entry), u.Close())
	}
	if err := b.bind(pc); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	b.made = u
	return nil, nil
}

// progArray is the one that the instructions refer to.
func progArray(ins asm.Instructions) *ebpf.Map {
	for i := range ins {
		if m, ok := ins[i].Map().(*ebpf.Map); ok && m.Type() == ebpf.ProgramArray {
			return m
		}
	}
	return nil
}

// bind fills in what own declares.
func (b *binding) bind(pc *tracer.ProbeContext) error {
	layout, err := recordLayout()
	if err != nil {
		return err
	}
	layout["cfg_fresh_ns"] = uint64(fresh / time.Nanosecond)
	for name, value := range layout {
		if v := b.own.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				return fmt.Errorf("set variable %s: %w", name, err)
			}
		}
	}
	if err := associate(b.own, map[string]*ebpf.Map{"known_stacks": b.tier.unwinder.own.Known}); err != nil {
		return err
	}
	delete(b.own.Maps, "known_stacks")
	if err := pc.RewriteMaps(b.own, nil); err != nil {
		return fmt.Errorf("bind the profiler's maps: %w", err)
	}
	return nil
}
