package deepstack

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"sockleak/internal/tracepoint"
)

// attach starts with what tells of processes and ends with what takes stacks. Of
// the programs at one tracepoint the kernel runs the one first that was
// attached first.
func (t *Tier) attach() error {
	own := &t.unwinder.own
	for _, p := range []*ebpf.Program{own.OnFree, own.OnFork, own.OnExec} {
		l, err := attachTracing(p)
		if err != nil {
			return err
		}
		t.links = append(t.links, l)
	}
	ids, err := tracepoint.Open()
	if err != nil {
		return fmt.Errorf("open tracefs: %w", err)
	}
	defer ids.Close()
	for name, p := range map[string]*ebpf.Program{"sys_exit_mmap": own.ExitMmap, "sys_enter_mmap": own.EnterMmap} {
		if err := t.attachTo(ids, name, p); err != nil {
			return err
		}
	}
	// What walks on, and what comes after the walk, is attached behind it.
	if call := t.unwinder.opts.Call; call != nil {
		calls, err := call(own.Socket, own.Socketpair)
		if err != nil {
			return fmt.Errorf("be called for sockets: %w", err)
		}
		t.links = append(t.links, calls)
	}
	for name, p := range map[string]*ebpf.Program{
		"sys_exit_socket": own.Socket, "sys_exit_socketpair": own.Socketpair,
		"sys_exit_accept": own.Accept, "sys_exit_accept4": own.Accept,
	} {
		programs := []*ebpf.Program{own.Again1, own.Again2, own.Again3, own.After}
		if t.unwinder.opts.Call == nil {
			programs = append([]*ebpf.Program{p}, programs...)
		}
		for _, p := range programs {
			if err := t.attachTo(ids, name, p); err != nil {
				return err
			}
		}
	}
	return t.attachUses()
}

// attachUses has the tier called after uses, if there are any.
func (t *Tier) attachUses() error {
	uses := t.unwinder.opts.Uses
	if uses == nil {
		return nil
	}
	calls, err := uses.Walk(t.unwinder.own.Use)
	if err != nil {
		return fmt.Errorf("be called for uses: %w", err)
	}
	t.links = append(t.links, calls)
	return nil
}

func (t *Tier) attachTo(ids *tracepoint.IDs, name string, p *ebpf.Program) error {
	id, err := ids.ID("syscalls", name)
	if err != nil {
		return fmt.Errorf("find tracepoint %s: %w", name, err)
	}
	l, err := tracepoint.Attach(id, p)
	if err != nil {
		return fmt.Errorf("attach to %s: %w", name, err)
	}
	t.links = append(t.links, l)
	return nil
}

func attachTracing(p *ebpf.Program) (io.Closer, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", p, err)
	}
	return l, nil
}
