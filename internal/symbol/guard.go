package symbol

import (
	"fmt"
	"runtime/debug"
)

// guard runs f and turns a panic into an error that says what was being read.
// The standard library's readers of ELF, DWARF and Go tables are made for files
// of one's own; and a mapped file that its owner truncates raises SIGBUS, which
// SetPanicOnFault makes a panic.
func guard(what string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: damaged file: %v", what, p)
		}
	}()
	return f()
}
