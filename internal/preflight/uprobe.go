package preflight

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"sockleak/internal/symbol"
)

// AttachUprobe puts the uprobe where our own program began: nothing comes there
// a second time.
func (kernel) AttachUprobe() error {
	const self = "/proc/self/exe"
	offset, err := entryOffset(self)
	if err != nil {
		return fmt.Errorf("find the entry of %s: %w", self, err)
	}
	prog, err := ebpf.NewProgram(idle(ebpf.Kprobe))
	if err != nil {
		return err
	}
	defer prog.Close()
	exe, err := link.OpenExecutable(self)
	if err != nil {
		return err
	}
	attached, err := exe.Uprobe("", prog, &link.UprobeOptions{Address: offset, PID: os.Getpid()})
	if err != nil {
		return err
	}
	return attached.Close()
}

// entryOffset is where in a file its first instruction is, in bytes.
func entryOffset(path string) (uint64, error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	offset, ok := symbol.FileOffset(f, f.Entry)
	if !ok {
		return 0, errors.New("it is in no segment")
	}
	return offset, nil
}
