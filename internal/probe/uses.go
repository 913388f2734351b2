package probe

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
)

// Uses is the kernel side of event.Use: programs at the calls that read, write and
// end, which cost every such call of the machine.
type Uses struct {
	objects struct {
		usesPrograms
		Walks *ebpf.Map `ebpf:"use_walks"`
		Nexts *ebpf.Map `ebpf:"use_nexts"`
	}
}

// loadUseObjects loads the programs, with the constants and those maps of the others
// that they write what they send into. What is left is theirs alone: the budget.
func loadUseObjects(cfg Config, constants map[string]any, others *bpfMaps) (*Uses, error) {
	spec, err := loadUses()
	if err != nil {
		return nil, err
	}
	if err := set(spec, constants); err != nil {
		return nil, err
	}
	size(spec, cfg, false)
	u := &Uses{}
	err = spec.LoadAndAssign(&u.objects, &ebpf.CollectionOptions{Cache: cfg.Types, MapReplacements: map[string]*ebpf.Map{
		usesMapEvents: others.Events, usesMapCounters: others.Counters, usesMapTargets: others.Targets, usesMapComms: others.Comms,
		usesMapLastTarget: others.LastTarget,
		usesMapStacksSent: others.StacksSent, usesMapStackRoom: others.StackRoom,
		usesMapCopies: others.Copies, usesMapCopiesSent: others.CopiesSent, usesMapWalkSteps: others.WalkSteps,
	}})
	if err != nil {
		return nil, fmt.Errorf("load the BPF programs for --last-use: %w", err)
	}
	return u, nil
}

// Uses returns the kernel side of event.Use, nil unless Config.LastUse asked for it.
func (p *Probe) Uses() *Uses { return p.uses }

// Walks is the map that names the use that was sent last on a CPU: struct use_walk of
// bpf/usewalk.h.
func (u *Uses) Walks() *ebpf.Map { return u.objects.Walks }

// Walk has a program of tracepoint type tail-called after every use that was sent with
// its stack, until the Closer is closed.
func (u *Uses) Walk(program *ebpf.Program) (io.Closer, error) {
	if err := u.objects.Nexts.Put(uint32(usesUseNextUSE_WALK), program); err != nil {
		return nil, fmt.Errorf("put %s into the prog array after uses: %w", program, err)
	}
	return usesWalked{u.objects.Nexts}, nil
}

// usesWalked is the prog array with the program of Walk.
type usesWalked struct{ programs *ebpf.Map }

// Close implements io.Closer.
func (w usesWalked) Close() error {
	if err := w.programs.Delete(uint32(usesUseNextUSE_WALK)); err != nil {
		return fmt.Errorf("take the program after uses out of the prog array: %w", err)
	}
	return nil
}

func (u *Uses) close() error {
	return errors.Join(u.objects.usesPrograms.Close(), u.objects.Walks.Close(), u.objects.Nexts.Close())
}
