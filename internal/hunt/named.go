package hunt

import (
	"maps"
	"os"
	"slices"

	"sockleak/internal/event"
	"sockleak/internal/procfs"
)

// byName reports whether an event is of those that the kernel's side sends only of
// processes that have one of the names that were asked for: a fork it sends whatever
// the parent is called.
func byName(k event.Kind) bool {
	switch k {
	case event.Socket, event.Pair, event.Accept, event.Exec, event.Exit:
		return true
	}
	return false
}

// unseen is the names that were asked for, where no process had any of them.
func (e *engine) unseen() []string {
	if e.named {
		return nil
	}
	return e.opts.Scope.Comms
}

// named reports whether a process that lives has one of the names that were asked
// for: one without sockets too. Where that can't be known, nothing is said.
func (o *options) named(fs procfs.FS, alive map[uint32]bool) bool {
	pids := slices.Collect(maps.Keys(alive))
	if len(o.Scope.PIDs) == 0 {
		var err error
		if pids, err = fs.PIDs(); err != nil {
			return true
		}
	}
	return slices.ContainsFunc(pids, func(pid uint32) bool {
		comm, err := fs.Comm(pid)
		return err == nil && int(pid) != os.Getpid() && slices.Contains(o.Scope.Comms, comm)
	})
}
