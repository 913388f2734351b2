package procfs

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
)

// Is32Bit reports whether a process runs a program of 32 bits, by the header of
// its executable (elf(5)). It needs the right to ptrace(2) the process.
func (fs FS) Is32Bit(pid uint32) (bool, error) {
	f, err := os.Open(fs.path(fs.Living(pid), "exe"))
	if err != nil {
		return false, fmt.Errorf("open the program of process %d: %w", pid, err)
	}
	defer f.Close()
	var ident [elf.EI_NIDENT]byte
	if _, err := io.ReadFull(f, ident[:]); err != nil {
		return false, fmt.Errorf("read the program of process %d: %w", pid, err)
	}
	return string(ident[:len(elf.ELFMAG)]) == elf.ELFMAG && elf.Class(ident[elf.EI_CLASS]) == elf.ELFCLASS32, nil
}
