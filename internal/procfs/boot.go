package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// BootID names this boot of the machine: random, and another after each
// (proc_sys_kernel(5), random). Inode numbers of sockets and the times of
// CLOCK_BOOTTIME mean nothing in another.
func (fs FS) BootID() (string, error) {
	text, err := os.ReadFile(filepath.Join(fs.root, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
