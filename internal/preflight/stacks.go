package preflight

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockleak/internal/deepstack"
	"sockleak/internal/tracepoint"
)

// The tiers of stacks, see docs/stacks.md. None is required: sockets are counted
// and judged without any.
var (
	needComplete = need{"stacks, tier 1", false}
	needCopies   = need{"stacks, tier 2", false}
	needPointers = need{"stacks, tier 3", false}
)

// nativeOnly is what the lack of tier 1 costs.
const nativeOnly = "no lines of Python, Node, Java and Ruby (tier 1); native stacks are still walked by unwind tables (tier 2)"

const kernelWithRegisters = "use Linux 5.15 or later"

// What tier 1 is attached to beside the hooks of the events.
var (
	completeSyscalls = [...]string{"sys_enter_mmap", "sys_exit_mmap"}
	completeTyped    = [...]string{"sched_process_free", "sched_process_fork", "sched_process_exec"}
)

// checkStacks does not load the profiler: that takes seconds. It tries what the
// profiler's programs and ours are made of.
func checkStacks(sys system, arch string, types bool) []Check {
	return []Check{checkComplete(sys, arch, types), checkCopies(sys, types), checkPointers(sys)}
}

func checkComplete(sys system, arch string, types bool) Check {
	if arch != "amd64" && arch != "arm64" {
		return needComplete.without("the profiler does not know "+arch, nativeOnly, "none")
	}
	if !types {
		return needComplete.unknown("not tried: takes kernel types")
	}
	switch err := sys.Registers(); {
	case errors.Is(err, deepstack.ErrNoRegisters):
		return needComplete.without("no bpf_task_pt_regs in this kernel", nativeOnly, kernelWithRegisters)
	case err != nil:
		return needComplete.unknown(reason(err))
	}
	if c := checkSymbols(sys); c.Status != OK {
		return needComplete.without("no kernel symbols: "+c.Detail, nativeOnly, c.Remedy)
	}
	if err := sys.NewTrie(); err != nil {
		return needComplete.without("no BPF map of type LPM trie: "+reason(err), nativeOnly, "use a kernel with CONFIG_BPF_SYSCALL=y and room in its cgroup")
	}
	if missing, err := lackingHooks(sys); err != nil {
		return needComplete.unknown(reason(err))
	} else if missing != nil {
		return needComplete.without("no tracepoint "+strings.Join(missing, ", "), nativeOnly, "use a kernel with all of them")
	}
	return needComplete.ok("complete, native and interpreted frames (OpenTelemetry eBPF profiler)")
}

// lackingHooks returns the hooks that the kernel hasn't got. An error says that it
// could not be found out.
func lackingHooks(sys system) ([]string, error) {
	ids, err := sys.OpenTracepoints()
	if err != nil {
		return nil, fmt.Errorf("open tracefs: %w", err)
	}
	missing, err := absent(ids, completeSyscalls[:])
	if cerr := ids.Close(); cerr != nil {
		return nil, fmt.Errorf("close tracefs: %w", cerr)
	}
	if err != nil && !errors.Is(err, tracepoint.ErrNotFound) {
		return nil, err
	}
	var hooks []hook
	for _, name := range completeTyped {
		hooks = append(hooks, hook{ebpf.AttachTraceRawTp, name})
	}
	for i, err := range sys.AttachByType(hooks) {
		switch {
		case errors.Is(err, ebpf.ErrNotSupported):
			missing = append(missing, completeTyped[i])
		case err != nil:
			return nil, fmt.Errorf("attach to %s: %w", completeTyped[i], err)
		}
	}
	return missing, nil
}

// checkCopies: the code of processes that are gone is known by the records of
// what they mapped.
func checkCopies(sys system, types bool) Check {
	if !types {
		return needCopies.unknown("not tried: takes kernel types")
	}
	if err := sys.FollowMaps(); err != nil {
		return needCopies.without("what processes map can't be followed: "+reason(err),
			"the code of processes that end within milliseconds can't be named",
			"allow perf_event_open(2) for all processes (docker run --privileged), or run on the host")
	}
	return needCopies.ok("copies of the stack, unwound by .eh_frame")
}

func checkPointers(sys system) Check {
	switch err := sys.HaveHelper(asm.FnGetStack); {
	case err == nil:
		return needPointers.ok("by frame pointers (bpf_get_stack)")
	case errors.Is(err, ebpf.ErrNotSupported):
		return needPointers.without("no bpf_get_stack in this kernel", "a socket that no other tier has a stack of has no origin", newerKernel)
	default:
		return needPointers.unknown(reason(err))
	}
}
