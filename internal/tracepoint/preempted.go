package tracepoint

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// Preempted reports whether programs at the tracepoints of system calls can be preempted
// while they run, and each is left out meanwhile for whoever else comes to it on that
// CPU: where the kernel has trace_call_bpf_faultable of kernel/trace/bpf_trace.c, as 7.2
// has and 6.18 has not. Before, they have the CPU for themselves.
func Preempted(kernel *btf.Spec) (bool, error) {
	var f *btf.Func
	switch err := kernel.TypeByName("trace_call_bpf_faultable", &f); {
	case errors.Is(err, btf.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for a function in the kernel's types: %w", err)
	}
	return true, nil
}
