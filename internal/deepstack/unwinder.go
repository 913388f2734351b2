package deepstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"go.opentelemetry.io/ebpf-profiler/interpreter/interpreterconfig"
	"go.opentelemetry.io/ebpf-profiler/reporter/samples"
	"go.opentelemetry.io/ebpf-profiler/support"
	"go.opentelemetry.io/ebpf-profiler/tracer"
)

// entry is the profiler's program that begins a stack. The others, which it
// tail-calls, have the prefix kprobe_ too.
const entry = "kprobe__generic"

// chain is the programs that unwind, and where they are in the prog array.
func chain() map[string]uint32 {
	return map[string]uint32{
		"unwind_native": support.ProgUnwindNative, "unwind_hotspot": support.ProgUnwindHotspot,
		"unwind_python": support.ProgUnwindPython, "unwind_ruby": support.ProgUnwindRuby,
		"unwind_v8": support.ProgUnwindV8, "unwind_stop": support.ProgUnwindStop,
	}
}

// languages leaves out those that stack.Kind doesn't have: each program takes its
// time to load.
func languages() interpreterconfig.Config {
	c := interpreterconfig.AllInterpreters()
	c.Perl.Disabled, c.PHP.Disabled, c.Dotnet.Disabled, c.BEAM.Disabled, c.LuaJIT.Disabled = true, true, true, true, true
	return c
}

// unwinder is the kernel side: the profiler's programs between ours. It is a
// tracer.Probe.
type unwinder struct {
	opts   Options
	own    objects
	origin uint16 // what the profiler calls our stacks
	// What the kernel would let go of while it is in use: a prog array is
	// emptied when no user space holds it any more.
	records, progs *ebpf.Map
	theirs         map[string]*ebpf.Program
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

// Load implements tracer.Probe. It attaches nothing.
func (u *unwinder) Load(_ context.Context, reg tracer.ProbeRegistrar, pc *tracer.ProbeContext) (link.Link, error) {
	var err error
	u.origin, err = reg.Register(&samples.TypeMetadata{SampleType: "socket", SampleUnit: "count"})
	if err != nil {
		return nil, fmt.Errorf("register with the profiler: %w", err)
	}
	names := []string{entry}
	for name := range chain() {
		names = append(names, "kprobe_"+name)
	}
	spec, err := pc.CollectionSpecWith([]string{"per_cpu_records", "kprobe_progs"}, names, []string{"origin_id_probe", "python_frames_per_program"})
	if err != nil {
		return nil, fmt.Errorf("take the profiler's programs: %w", err)
	}
	frames, err := pythonFrames()
	if err != nil {
		return nil, err
	}
	if err := setVariables(spec, map[string]any{"origin_id_probe": u.origin, "python_frames_per_program": frames}); err != nil {
		return nil, err
	}
	if err := u.ownMaps(spec); err != nil {
		return nil, err
	}
	if err := pc.RewriteMaps(spec, nil); err != nil {
		return nil, fmt.Errorf("bind the profiler's maps: %w", err)
	}
	if err := retype(spec); err != nil {
		return nil, err
	}
	var helpers []tracer.ProgLoaderHelper
	for _, n := range names {
		helpers = append(helpers, tracer.ProgLoaderHelper{Name: n, NoTailCallTarget: true, Enable: true})
	}
	u.theirs = map[string]*ebpf.Program{}
	if err := pc.LoadProbeUnwinders(spec, u.theirs, helpers, 0); err != nil {
		return nil, fmt.Errorf("load the profiler's programs: %w", err)
	}
	if err := u.loadOwn(pc); err != nil {
		return nil, err
	}
	return nil, u.connect()
}

// pythonFrames is how many Python frames one program walks: what the verifier
// takes, as the profiler itself chooses it (tracer/systemconfig.go).
func pythonFrames() (uint32, error) {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return 0, fmt.Errorf("read the kernel's version: %w", err)
	}
	if version >= 6<<16|6<<8 {
		return 15, nil
	}
	return 10, nil
}

// ownMaps gives the chain a per-CPU record and a prog array of its own: programs
// of one type can't tail-call those of another. It must be done before the
// profiler binds its own, which leaves alone what is bound.
func (u *unwinder) ownMaps(spec *ebpf.CollectionSpec) error {
	var err error
	if u.records, err = newMap(spec, "per_cpu_records", "deep_records"); err != nil {
		return err
	}
	if u.progs, err = newMap(spec, "kprobe_progs", "deep_progs"); err != nil {
		return err
	}
	return associate(spec, map[string]*ebpf.Map{"per_cpu_records": u.records, "perf_progs": u.progs})
}

func newMap(spec *ebpf.CollectionSpec, like, name string) (*ebpf.Map, error) {
	m := spec.Maps[like]
	delete(spec.Maps, like)
	m.Name = name
	made, err := ebpf.NewMap(m)
	if err != nil {
		return nil, fmt.Errorf("create map %s: %w", name, err)
	}
	return made, nil
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
	return nil
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

// retype makes tracepoint programs of the profiler's kprobe programs.
func retype(spec *ebpf.CollectionSpec) error {
	for _, p := range spec.Programs {
		p.Type, p.AttachType, p.AttachTo = ebpf.TracePoint, ebpf.AttachNone, ""
	}
	offset, no, ok := userMode()
	if !ok {
		return fmt.Errorf("deep stacks on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	ins := spec.Programs[entry].Instructions
	if err := withoutKernel(ins); err != nil {
		return err
	}
	patched := 0
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

// loadOwn loads our programs, bound to the maps of the profiler they share.
func (u *unwinder) loadOwn(pc *tracer.ProbeContext) error {
	spec, err := loadDeep()
	if err != nil {
		return fmt.Errorf("read the BPF programs: %w", err)
	}
	values, err := recordLayout()
	if err != nil {
		return err
	}
	values["cfg_unwind_native"] = uint32(support.ProgUnwindNative)
	values["cfg_unwind_stop"] = uint32(support.ProgUnwindStop)
	values["cfg_self"] = uint32(os.Getpid())
	values["cfg_scoped"] = len(u.opts.PIDs) > 0
	values["cfg_children"] = u.opts.Children && len(u.opts.PIDs) > 0
	values["cfg_fresh_ns"] = uint64(fresh / time.Nanosecond)
	if err := setVariables(spec, values); err != nil {
		return err
	}
	if err := associate(spec, map[string]*ebpf.Map{"per_cpu_records": u.records, "perf_progs": u.progs}); err != nil {
		return err
	}
	delete(spec.Maps, "per_cpu_records")
	delete(spec.Maps, "perf_progs")
	if err := pc.RewriteMaps(spec, nil); err != nil {
		return fmt.Errorf("bind the profiler's maps: %w", err)
	}
	replace := map[string]*ebpf.Map{}
	if u.opts.Uses != nil {
		replace["use_walks"] = u.opts.Uses.Walks()
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
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

// connect fills the prog arrays: into the profiler, through it, and out of it to
// us before its last program.
func (u *unwinder) connect() error {
	for name, slot := range chain() {
		p := u.theirs["kprobe_"+name]
		if name == "unwind_stop" {
			p = u.own.Stop
		}
		if err := u.progs.Put(slot, p); err != nil {
			return fmt.Errorf("put %s into the prog array: %w", name, err)
		}
	}
	for slot, name := range map[deepDeepNext]string{deepDeepNextNEXT_UNWIND: entry, deepDeepNextNEXT_STOP: "kprobe_unwind_stop"} {
		if err := u.own.Next.Put(uint32(slot), u.theirs[name]); err != nil {
			return fmt.Errorf("put %s into the prog array: %w", name, err)
		}
	}
	return nil
}

// close lets go of programs and maps; nothing is attached any more.
func (u *unwinder) close() error {
	var errs []error
	o := &u.own
	for _, p := range []*ebpf.Program{o.Stop, o.Socket, o.Socketpair, o.Accept, o.Again1, o.Again2, o.Again3, o.After, o.Use, o.EnterMmap, o.ExitMmap,
		o.OnExec, o.OnFork, o.OnFree, o.LearnNow} {
		errs = append(errs, p.Close())
	}
	for _, p := range u.theirs {
		errs = append(errs, p.Close())
	}
	for _, m := range []*ebpf.Map{o.Births, o.Counters, o.Scope, o.Known, o.Next, u.records, u.progs} {
		errs = append(errs, m.Close())
	}
	*u = unwinder{opts: u.opts}
	return errors.Join(errs...)
}
