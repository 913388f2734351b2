package hunt

import (
	"fmt"
	"slices"
	"strings"

	"sockleak/internal/event"
)

// maxCompat is how many programs a note names.
const maxCompat = 5

// compat has the programs of 32 bits among those with sockets. The tracepoints of
// system calls leave theirs out (ARCH_TRACE_IGNORE_COMPAT_SYSCALLS in the kernel),
// because the numbers are others.
type compat struct {
	names []string // of the first
	more  int      // how many came after them
}

// add notes a process. One that runs another program is described again.
func (c *compat) add(p event.ProcessKey, comm string) {
	name := fmt.Sprintf("%s (pid %d)", comm, p.PID)
	switch {
	case slices.Contains(c.names, name):
	case len(c.names) == maxCompat:
		c.more++
	default:
		c.names = append(c.names, name)
	}
}

// note says what is not seen of them; empty if there are none.
func (c *compat) note() string {
	if len(c.names) == 0 {
		return ""
	}
	more := ""
	if c.more > 0 {
		more = fmt.Sprintf(" and %d more", c.more)
	}
	return "32-bit programs, whose system calls the kernel's tracepoints leave out: " + strings.Join(slices.Sorted(slices.Values(c.names)), ", ") + more +
		"; their sockets are found by looks at the kernel's tables, without origin, and not counted as opened or closed"
}
