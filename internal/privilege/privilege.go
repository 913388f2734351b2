// Package privilege lets go of the capabilities that are no longer needed.
package privilege

import (
	"fmt"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// lasting are the capabilities that a trace goes on using once everything is
// attached; docs/privileges.md says what for.
func lasting() []cap.Value {
	return []cap.Value{
		cap.BPF, cap.PERFMON, // iterators, counters; the profiler's tables
		cap.SYS_PTRACE, cap.DAC_READ_SEARCH, // maps, executables and descriptors of others
		cap.CHECKPOINT_RESTORE, // /proc/PID/map_files: the code that was deleted, or is in a chroot
		cap.SYS_RESOURCE,       // the profiler raises RLIMIT_MEMLOCK before each map
		cap.KILL,               // signals for the command of run, which may be another user's
	}
}

// Drop gives up, for good and for all threads, every capability but the lasting
// ones, as far as the process has them. Where CAP_SYS_ADMIN has to stand for one
// that is missing, it stays; and where uprobes are still to be attached, because
// kernels from 6.16 on, and the stable ones of July 2025, want it for each
// (ba677dbe77af; kernel/events/core.c: perf_uprobe_event_init).
func Drop(uprobes bool) error {
	have := cap.GetProc()
	keep := cap.NewSet()
	for _, value := range append(lasting(), cap.SYS_ADMIN) {
		held, err := have.GetFlag(cap.Permitted, value)
		if err != nil {
			return fmt.Errorf("read own capabilities: %w", err)
		}
		if !held || value == cap.SYS_ADMIN && !uprobes && !replaces(have) {
			continue
		}
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := keep.SetFlag(flag, true, value); err != nil {
				return fmt.Errorf("choose capabilities: %w", err)
			}
		}
	}
	if err := keep.SetProc(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// replaces reports whether one of those is missing that CAP_SYS_ADMIN includes.
func replaces(have *cap.Set) bool {
	for _, value := range []cap.Value{cap.BPF, cap.PERFMON, cap.CHECKPOINT_RESTORE} {
		if held, err := have.GetFlag(cap.Permitted, value); err != nil || !held {
			return true
		}
	}
	return false
}
