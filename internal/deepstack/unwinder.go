package deepstack

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"go.opentelemetry.io/ebpf-profiler/support"

	"sockleak/internal/tracepoint"
)

// unwinder is the kernel side: the profiler's programs between ours.
type unwinder struct {
	opts   Options
	own    objects
	theirs *programs
	loader *loader
}

// objects are our own programs and maps.
type objects struct {
	Births   *ebpf.Map `ebpf:"births"`
	Counters *ebpf.Map `ebpf:"deep_counters"`
	Scope    *ebpf.Map `ebpf:"scope"`
	Known    *ebpf.Map `ebpf:"known_stacks"`
	Next     *ebpf.Map `ebpf:"next"`

	Stop       *ebpf.Program `ebpf:"deep_stop"`
	Socket     *ebpf.Program `ebpf:"deep_socket"`
	Socketpair *ebpf.Program `ebpf:"deep_socketpair"`
	Accept     *ebpf.Program `ebpf:"deep_accept"`
	Again1     *ebpf.Program `ebpf:"deep_again1"`
	Again2     *ebpf.Program `ebpf:"deep_again2"`
	Again3     *ebpf.Program `ebpf:"deep_again3"`
	After      *ebpf.Program `ebpf:"deep_after"`
	Use        *ebpf.Program `ebpf:"deep_use"`
	EnterMmap  *ebpf.Program `ebpf:"enter_mmap"`
	ExitMmap   *ebpf.Program `ebpf:"exit_mmap"`
	OnExec     *ebpf.Program `ebpf:"on_exec"`
	OnFork     *ebpf.Program `ebpf:"on_fork"`
	OnFree     *ebpf.Program `ebpf:"on_free"`
	LearnNow   *ebpf.Program `ebpf:"learn_now"`
}

// load loads everything. It attaches nothing.
func (u *unwinder) load() error {
	self, err := loadDeep()
	if err != nil {
		return fmt.Errorf("read the BPF programs: %w", err)
	}
	spec, err := unwinderSpec(self)
	if err != nil {
		return err
	}
	if u.loader, err = newLoader(spec); err != nil {
		return err
	}
	if u.theirs, err = u.loader.load(true); err != nil {
		return err
	}
	if err := u.loadOwn(self); err != nil {
		return err
	}
	return u.connect()
}

// loadOwn loads our programs, bound to the maps of the profiler they share.
func (u *unwinder) loadOwn(spec *ebpf.CollectionSpec) error {
	values, err := recordLayout()
	if err != nil {
		return err
	}
	values["cfg_unwind_native"] = uint32(support.ProgUnwindNative)
	values["cfg_unwind_stop"] = uint32(support.ProgUnwindStop)
	values["cfg_self"] = uint32(os.Getpid())
	values["cfg_scoped"] = len(u.opts.PIDs) > 0
	kernel, err := u.loader.cache.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's types: %w", err)
	}
	if values["cfg_preempted"], err = tracepoint.Preempted(kernel); err != nil {
		return err
	}
	values["cfg_children"] = u.opts.Children && len(u.opts.PIDs) > 0
	values["cfg_fresh_ns"] = uint64(fresh / time.Nanosecond)
	if err := setVariables(spec, values); err != nil {
		return err
	}
	theirs := map[string]*ebpf.Map{progsMap: u.theirs.progs, recordsMap: u.theirs.records}
	for name := range spec.Maps {
		if m := u.loader.maps[name]; m != nil && theirs[name] == nil {
			theirs[name] = m
		}
	}
	if u.opts.Uses != nil {
		theirs["use_walks"] = u.opts.Uses.Walks()
	}
	if err := associate(spec, theirs); err != nil {
		return err
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("load the BPF programs: %w", err)
	}
	defer coll.Close() // of what isn't assigned
	if err := coll.Assign(&u.own); err != nil {
		return fmt.Errorf("take the BPF programs: %w", err)
	}
	for _, pid := range u.opts.PIDs {
		if err := u.own.Scope.Put(pid, uint8(1)); err != nil {
			return fmt.Errorf("add process %d to the scope: %w", pid, err)
		}
	}
	return nil
}

// connect fills the prog arrays: into the profiler, and out of it to us before its
// last program.
func (u *unwinder) connect() error {
	if err := u.theirs.progs.Put(uint32(support.ProgUnwindStop), u.own.Stop); err != nil {
		return fmt.Errorf("put %s into the prog array: %w", u.own.Stop, err)
	}
	for slot, name := range map[deepDeepNext]string{deepDeepNextNEXT_UNWIND: entry, deepDeepNextNEXT_STOP: stopName} {
		if err := u.own.Next.Put(uint32(slot), u.theirs.by[name]); err != nil {
			return fmt.Errorf("put %s into the prog array: %w", name, err)
		}
	}
	return nil
}

// close lets go of programs and maps; nothing is attached any more. The maps of the
// profiler go when nobody refers to them: its own goroutines may still write.
func (u *unwinder) close() error {
	var errs []error
	o := &u.own
	for _, p := range []*ebpf.Program{o.Stop, o.Socket, o.Socketpair, o.Accept, o.Again1, o.Again2, o.Again3, o.After, o.Use, o.EnterMmap, o.ExitMmap,
		o.OnExec, o.OnFork, o.OnFree, o.LearnNow} {
		errs = append(errs, p.Close())
	}
	for _, m := range []*ebpf.Map{o.Births, o.Counters, o.Scope, o.Known, o.Next} {
		errs = append(errs, m.Close())
	}
	errs = append(errs, u.theirs.close())
	*u = unwinder{opts: u.opts}
	return errors.Join(errs...)
}
