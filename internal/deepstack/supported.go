package deepstack

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// ErrNoRegisters says that programs can't have the registers that a thread entered
// the kernel with, where the walk of its stack begins.
var ErrNoRegisters = errors.New("complete stacks need bpf_task_pt_regs, which this kernel doesn't have: it came with Linux 5.15")

// Supported says why complete stacks can't be had here, before anything is
// loaded. nil is no promise: only loading shows all that may be refused.
func Supported() error {
	if err := Registers(); errors.Is(err, ErrNoRegisters) {
		return err
	}
	return Symbols()
}

// Registers returns ErrNoRegisters where that is so; other errors say that it could
// not be found out.
func Registers() error {
	err := features.HaveProgramHelper(ebpf.TracePoint, asm.FnTaskPtRegs)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return ErrNoRegisters
	}
	if err != nil {
		return fmt.Errorf("find out whether there is bpf_task_pt_regs: %w", err)
	}
	return nil
}

// Symbols says why the addresses of the kernel's functions can't be read, which the
// profiler needs.
func Symbols() error { return symbolsReadable("/proc/kallsyms") }

// symbolsReadable looks for an address: to those who may not read them, the kernel
// shows zeros.
func symbolsReadable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("complete stacks need the kernel's symbols: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if address, _, _ := strings.Cut(lines.Text(), " "); strings.Trim(address, "0") != "" {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("complete stacks need the kernel's symbols: read %s: %w", path, err)
	}
	return fmt.Errorf("complete stacks need the kernel's symbols, and %s hides their addresses: it takes CAP_SYSLOG, and kernel.kptr_restrict below 2", path)
}
