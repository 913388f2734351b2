package deepstack

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"go.opentelemetry.io/ebpf-profiler/interpreter/interpreterconfig"
	"go.opentelemetry.io/ebpf-profiler/support"
)

// entry is the profiler's program that begins a stack.
const entry = "kprobe__generic"

// slow is the program that takes the verifier longer than all others together.
const slow = "kprobe_unwind_python"

// stopName is the profiler's program that sends a stack.
const stopName = "kprobe_unwind_stop"

// chain is the programs that unwind, and where they are in the prog array.
func chain() map[string]uint32 {
	return map[string]uint32{
		"kprobe_unwind_native": support.ProgUnwindNative, "kprobe_unwind_hotspot": support.ProgUnwindHotspot,
		slow: support.ProgUnwindPython, "kprobe_unwind_ruby": support.ProgUnwindRuby,
		"kprobe_unwind_v8": support.ProgUnwindV8, stopName: support.ProgUnwindStop,
	}
}

// languages leaves out those that stack.Kind doesn't have: each program takes its
// time to load.
func languages() interpreterconfig.Config {
	c := interpreterconfig.AllInterpreters()
	c.Perl.Disabled, c.PHP.Disabled, c.Dotnet.Disabled, c.BEAM.Disabled, c.LuaJIT.Disabled = true, true, true, true, true
	return c
}

// programs are the profiler's, of one type, with the prog array and the per-CPU
// record that they share: those of one type can't tail-call those of another, and
// a walk may be interrupted by one of another type.
type programs struct {
	by      map[string]*ebpf.Program
	progs   *ebpf.Map // a prog array is emptied when no user space holds it any more
	records *ebpf.Map
}

// loader loads the profiler's programs into the maps of one profiler.
type loader struct {
	spec  *ebpf.CollectionSpec
	maps  map[string]*ebpf.Map
	cache *btf.Cache
}

// The names of the maps that each programs has of its own.
const (
	progsMap   = "perf_progs"
	recordsMap = "per_cpu_records"
)

// newLoader makes the maps.
func newLoader(spec *ebpf.CollectionSpec) (*loader, error) {
	l := &loader{spec: spec, cache: btf.NewCache()}
	shared := spec.Copy()
	shared.Programs = nil
	delete(shared.Maps, progsMap)
	delete(shared.Maps, recordsMap)
	coll, err := ebpf.NewCollectionWithOptions(shared, ebpf.CollectionOptions{Cache: l.cache})
	if err != nil {
		return nil, fmt.Errorf("create the profiler's maps: %w", err)
	}
	l.maps = coll.Maps
	coll.Maps = nil
	coll.Close()
	return l, nil
}

// load loads the programs, on two CPUs if there are: that for Python takes as long
// as the others together. With tracepoint they are for tracepoints, else for
// kprobes and uprobes, and they have other maps than the profiler's first.
func (l *loader) load(tracepoint bool) (*programs, error) {
	p := &programs{by: map[string]*ebpf.Program{}}
	var err error
	if p.progs, p.records, err = l.ownMaps(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	var rest []string
	for _, name := range programNames() {
		if name != slow {
			rest = append(rest, name)
		}
	}
	type loaded struct {
		by  map[string]*ebpf.Program
		err error
	}
	done := make(chan loaded, 1)
	go func() {
		by, err := l.loadSome(p, []string{slow}, tracepoint)
		done <- loaded{by, err}
	}()
	others, err := l.loadSome(p, rest, tracepoint)
	python := <-done
	for _, by := range []map[string]*ebpf.Program{others, python.by} {
		for name, program := range by {
			p.by[name] = program
		}
	}
	if err := errors.Join(err, python.err); err != nil {
		return nil, errors.Join(err, p.close())
	}
	for name, slot := range chain() {
		if err := p.progs.Put(slot, p.by[name]); err != nil {
			return nil, errors.Join(fmt.Errorf("put %s into the prog array: %w", name, err), p.close())
		}
	}
	return p, nil
}

func (l *loader) ownMaps() (progs, records *ebpf.Map, err error) {
	if progs, err = ebpf.NewMap(l.spec.Maps[progsMap]); err == nil {
		records, err = ebpf.NewMap(l.spec.Maps[recordsMap])
	}
	if err != nil {
		return progs, records, fmt.Errorf("create the maps of the profiler's programs: %w", err)
	}
	return progs, records, nil
}

// loadSome loads these programs.
func (l *loader) loadSome(p *programs, names []string, tracepoint bool) (map[string]*ebpf.Program, error) {
	spec := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{}, Programs: map[string]*ebpf.ProgramSpec{}, Types: l.spec.Types, ByteOrder: l.spec.ByteOrder,
	}
	all, replace := maps.Clone(l.maps), map[string]*ebpf.Map{}
	all[progsMap], all[recordsMap] = p.progs, p.records
	for _, name := range names {
		program := l.spec.Programs[name].Copy()
		if name == entry {
			if err := withoutKernel(program.Instructions); err != nil {
				return nil, err
			}
		}
		if tracepoint {
			if err := retype(program); err != nil {
				return nil, err
			}
		}
		spec.Programs[name] = program
		for i := range program.Instructions {
			used := program.Instructions[i].Reference()
			if m := all[used]; m != nil {
				spec.Maps[used], replace[used] = l.spec.Maps[used], m
			}
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace, Cache: l.cache})
	if err != nil {
		return nil, fmt.Errorf("load the profiler's programs %s: %w", strings.Join(names, ", "), err)
	}
	loaded := coll.Programs
	coll.Programs = nil
	coll.Close()
	return loaded, nil
}

func (p *programs) close() error {
	if p == nil {
		return nil
	}
	errs := []error{p.progs.Close(), p.records.Close()}
	for _, program := range p.by {
		errs = append(errs, program.Close())
	}
	return errors.Join(errs...)
}

// userMode is how the entry finds out whether its context holds the registers of
// user space, as a kprobe's can: it loads one field of struct pt_regs. Ours is a
// tracepoint's and has none, so the load becomes a constant that says no, and
// the registers that the thread entered the kernel with are used.
func userMode() (offset int16, no int32, ok bool) {
	switch runtime.GOARCH {
	case "amd64":
		return 160, 0, true // ss; __USER_DS is user mode
	case "arm64":
		return 264, 5, true // pstate; EL0t is user mode, this is EL1h
	}
	return 0, 0, false
}

// retype makes a tracepoint program of one of the profiler's kprobe programs.
func retype(p *ebpf.ProgramSpec) error {
	p.Type, p.AttachType, p.AttachTo = ebpf.TracePoint, ebpf.AttachNone, ""
	if p.Name != entry {
		return nil
	}
	offset, no, ok := userMode()
	if !ok {
		return fmt.Errorf("deep stacks on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	patched := 0
	ins := p.Instructions
	for i := range ins {
		if ins[i].OpCode.Class() == asm.LdXClass && ins[i].OpCode.Size() == asm.DWord &&
			ins[i].Offset == offset && ins[i].Src != asm.RFP {
			md := ins[i].Metadata
			ins[i] = asm.Mov.Imm(ins[i].Dst, no)
			ins[i].Metadata = md
			patched++
		}
	}
	if patched != 1 {
		return fmt.Errorf("adapt the profiler's program %s: %d loads at offset %d of its context, not one", entry, patched, offset)
	}
	return nil
}

// withoutKernel takes the walk of the kernel's stack out of the entry: it costs as
// much as some frames of user space, and tells nothing. That there is none, as for
// a thread whose stack can't be walked, is an answer the entry knows.
func withoutKernel(ins asm.Instructions) error {
	patched := 0
	for i := range ins {
		if ins[i].IsBuiltinCall() && ins[i].Constant == int64(asm.FnGetStack) {
			md := ins[i].Metadata
			ins[i] = asm.Mov.Imm(asm.R0, 0)
			ins[i].Metadata = md
			patched++
		}
	}
	if patched != 1 {
		return fmt.Errorf("adapt the profiler's program %s: %d walks of the kernel's stack, not one", entry, patched)
	}
	return nil
}

// associate binds maps to the programs that use them.
func associate(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) error {
	for name, p := range spec.Programs {
		for symbol, m := range maps {
			if err := p.Instructions.AssociateMap(symbol, m); err != nil && !errors.Is(err, asm.ErrUnreferencedSymbol) {
				return fmt.Errorf("bind map %s to program %s: %w", symbol, name, err)
			}
		}
	}
	for symbol := range maps {
		delete(spec.Maps, symbol)
	}
	return nil
}

func setVariables(spec *ebpf.CollectionSpec, values map[string]any) error {
	for name, v := range values {
		variable := spec.Variables[name]
		if variable == nil {
			return fmt.Errorf("set variable %s: there is none", name)
		}
		if err := variable.Set(v); err != nil {
			return fmt.Errorf("set variable %s: %w", name, err)
		}
	}
	return nil
}
