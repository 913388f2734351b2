package tracepoint

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Skipped is how often the kernel did not run the programs, of whatever type,
// because another one, or they themselves, were running on that CPU
// (trace_call_bpf, bpf_trace_run, __bpf_prog_enter_recur). Kernels before 5.12 don't
// count it, and those before 6.7 not at the tracepoints of system calls: then it is zero.
func Skipped(programs ...*ebpf.Program) (sum uint64, err error) {
	for _, prog := range programs {
		stats, err := prog.Stats()
		if errors.Is(err, ebpf.ErrNotSupported) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the counters of %s: %w", prog, err)
		}
		sum += stats.RecursionMisses
	}
	return sum, nil
}
