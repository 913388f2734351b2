package deepstack

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"go.opentelemetry.io/ebpf-profiler/pacmask"
	"go.opentelemetry.io/ebpf-profiler/support"
	"go.opentelemetry.io/ebpf-profiler/tracer"
)

// origin is what the profiler's traces have to say where they are from. There is
// one kind of them here.
const origin = uint16(1)

// pythonFrames is how many frames of Python, or of C below it, one program walks.
// The verifier's time grows faster than that: 0.09 s for 2, 0.27 for 4, 0.8 for 8,
// 1.5 for 15, which the profiler itself takes. A walk has 132 programs, see
// MAX_ROUNDS of bpf/deepstack.h: these are enough for 792 frames, where native code
// has 580, and take no longer to load than all else does on another CPU.
const pythonFrames = 6

// unwinderSpec is the profiler's programs that unwind, and the maps that they and
// its process manager share, with what they have to know of this kernel.
func unwinderSpec(self *ebpf.CollectionSpec) (*ebpf.CollectionSpec, error) {
	full, err := support.LoadCollectionSpec()
	if err != nil {
		return nil, fmt.Errorf("read the profiler's programs: %w", err)
	}
	findsVMA := features.HaveProgramHelper(ebpf.TracePoint, asm.FnFindVma) == nil &&
		features.HaveProgramHelper(ebpf.Kprobe, asm.FnFindVma) == nil
	values, err := systemVariables(self, findsVMA)
	if err != nil {
		return nil, err
	}
	programs := map[string]*ebpf.ProgramSpec{}
	if !findsVMA {
		// One that knows nothing of the kernel takes it for one without
		// bpf_find_vma, which came with Linux 5.17, and leaves out its calls.
		without, err := new(tracer.ProbeContext).CollectionSpecWith(nil, programNames(), nil)
		if err != nil {
			return nil, fmt.Errorf("take the profiler's programs: %w", err)
		}
		full.Programs = without.Programs
	}
	for _, name := range programNames() {
		if programs[name] = full.Programs[name]; programs[name] == nil {
			return nil, fmt.Errorf("take the profiler's program %s: there is none", name)
		}
	}
	full.Programs = programs
	config := languages()
	for name := range full.Maps {
		if !config.IsMapEnabled(name) {
			delete(full.Maps, name)
		}
	}
	if err := setVariables(full, values); err != nil {
		return nil, err
	}
	return full, sizeMaps(full)
}

// programNames are the profiler's programs that are used.
func programNames() []string {
	names := []string{entry}
	for name := range chain() {
		names = append(names, name)
	}
	return names
}

// sizeMaps chooses the sizes that the profiler chooses when it is started by itself
// (tracer/tracer.go), and leaves out what only that needs.
func sizeMaps(spec *ebpf.CollectionSpec) error {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return fmt.Errorf("read the kernel's version: %w", err)
	}
	for name, entries := range map[string]uint32{
		"pid_page_to_mapping_info": 1 << 20, "stack_delta_page_to_info": 1 << 16, "trace_events": traceRing,
		"traces_ctx_v1": 1, // which other profilers would fill
	} {
		m := spec.Maps[name]
		if m == nil {
			return fmt.Errorf("size the profiler's map %s: there is none", name)
		}
		m.MaxEntries = entries
	}
	for bucket := support.StackDeltaBucketSmallest; bucket <= support.StackDeltaBucketLargest; bucket++ {
		m := spec.Maps[deltasName(bucket)]
		if m == nil {
			return fmt.Errorf("size the profiler's map %s: there is none", deltasName(bucket))
		}
		m.MaxEntries = 1 << 16
		// Before Linux 6.1 programs of this kind must not use maps that
		// allocate while they run (kernel/bpf/verifier.c, ee53cbfb1ebf).
		if version >= 6<<16|1<<8 {
			m.Flags |= noPrealloc
		}
	}
	for _, name := range []string{"system_analysis", "sched_times", "kprobe_progs", "per_cpu_records_kp"} {
		delete(spec.Maps, name)
	}
	return nil
}

// noPrealloc is BPF_F_NO_PREALLOC of linux/bpf.h.
const noPrealloc = 1

func deltasName(bucket int) string { return fmt.Sprintf("exe_id_to_%d_stack_deltas", bucket) }

// systemVariables are the constants of the profiler's programs.
func systemVariables(self *ebpf.CollectionSpec, findsVMA bool) (map[string]any, error) {
	registers, err := registersAt(self)
	if err != nil {
		return nil, err
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	values := map[string]any{
		"origin_id_probe": origin, "python_frames_per_program": uint32(pythonFrames), "go_labels_disabled": true,
		"ruby_skip_native_resume": true,
		"inverse_pac_mask":        ^pacmask.GetPACMask(), "stack_ptregs_offset": registers, "vma_lookup_enabled": findsVMA,
	}
	threadPointer := []string{"thread", "fsbase"}
	if runtime.GOARCH == "arm64" {
		threadPointer = []string{"thread", "uw", "tp_value"}
	}
	for variable, path := range map[string][]string{"tpbase_offset": threadPointer, "task_stack_offset": {"stack"}} {
		at, err := kernelOffset(kernel, "task_struct", path...)
		if err != nil {
			return nil, err
		}
		values[variable] = at
	}
	values["tpbase_offset"] = uint64(values["tpbase_offset"].(uint32))
	// Where code is in no file that is known, the kernel's mapping tells whether it
	// is worth to look at the process again. It can be done without.
	file, err := kernelOffset(kernel, "vm_area_struct", "vm_file")
	flags, errFlags := kernelOffset(kernel, "vm_area_struct", "vm_flags")
	if err == nil && errFlags == nil {
		values["vma_vm_file_offset"], values["vma_vm_flags_offset"] = file, flags
	} else {
		values["vma_lookup_enabled"] = false
	}
	return values, nil
}

// kernelOffset returns where a field is in a struct of the kernel, in bytes.
func kernelOffset(kernel *btf.Spec, name string, path ...string) (uint32, error) {
	var in *btf.Struct
	if err := kernel.TypeByName(name, &in); err != nil {
		return 0, fmt.Errorf("find the kernel's %s: %w", name, err)
	}
	return offset(in, path)
}

// registersAt asks the kernel where on a thread's kernel stack its registers of
// user space are: THREAD_SIZE, which it depends on, is in no BTF.
func registersAt(self *ebpf.CollectionSpec) (uint32, error) {
	const name = "registers_at"
	p, err := ebpf.NewProgram(self.Programs[name])
	if err != nil {
		return 0, fmt.Errorf("load the BPF program %s: %w", name, err)
	}
	defer p.Close()
	delete(self.Programs, name)
	at, err := p.Run(&ebpf.RunOptions{})
	if err != nil {
		return 0, fmt.Errorf("run the BPF program %s: %w", name, err)
	}
	return at, nil
}
