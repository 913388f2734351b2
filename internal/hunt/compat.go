package hunt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sockleak/internal/event"
)

// maxCompat is how many programs a note names.
const maxCompat = 5

// compat has the programs of 32 bits among those with sockets, by process. The
// tracepoints of system calls leave theirs out (ARCH_TRACE_IGNORE_COMPAT_SYSCALLS
// in the kernel), because the numbers are others.
type compat map[event.ProcessKey]string

// note says what is not seen of them; empty if there are none.
func (c compat) note() string {
	if len(c) == 0 {
		return ""
	}
	seen := map[string]bool{}
	for p, comm := range c {
		seen[fmt.Sprintf("%s (pid %d)", comm, p.PID)] = true
	}
	names := slices.Sorted(maps.Keys(seen))
	more := ""
	if len(names) > maxCompat {
		more = fmt.Sprintf(" and %d more", len(names)-maxCompat)
		names = names[:maxCompat]
	}
	return "32-bit programs, whose system calls the kernel's tracepoints leave out: " + strings.Join(names, ", ") + more +
		"; their sockets are found by looks at the kernel's tables, without origin, and not counted as opened or closed"
}
