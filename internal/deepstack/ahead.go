package deepstack

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/remotememory"
	"golang.org/x/sys/unix"

	"sockleak/internal/elfguard"
	"sockleak/internal/rootfile"
)

// ahead has the profiler read files before a process that is traced maps them: it
// remembers what it has read, and then needs milliseconds where a large file takes it a
// second. It knows files only as what processes have mapped, so sockleak itself maps their
// code for the moment; the profiler never hears that it is gone, and so forgets none of
// it. What can't be mapped is left out: it is read when the process maps it.
func (m *manager) ahead(files []string) error {
	own := mappedAhead{at: map[uint64]bool{}}
	defer own.unmap()
	for _, path := range files {
		// One that can't be mapped is no failure of the Tier.
		_ = elfguard.Do(path, func() error { return own.add(path) })
	}
	if len(own.code) == 0 {
		return nil
	}
	self := libpf.PID(os.Getpid())
	own.Process = process.New(self, self)
	return m.synchronize(own)
}

// mappedAhead is sockleak's own process, with nothing in it but what was mapped here.
type mappedAhead struct {
	process.Process
	code [][]byte
	at   map[uint64]bool // the addresses of code
}

// add maps the code of a file. Nothing runs or reads it there.
func (a *mappedAhead) add(path string) error {
	f, _, err := rootfile.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	program, err := elf.NewFile(elfguard.NewReader(f, elfguard.MaxRead))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	page := uint64(os.Getpagesize())
	for _, p := range program.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 {
			continue
		}
		skew := p.Off % page
		code, err := unix.Mmap(int(f.Fd()), int64(p.Off-skew), int(p.Filesz+skew), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("map %s: %w", path, err)
		}
		a.code = append(a.code, code)
		a.at[uint64(uintptr(unsafe.Pointer(unsafe.SliceData(code))))] = true
	}
	return nil
}

func (a *mappedAhead) unmap() {
	for _, code := range a.code {
		_ = unix.Munmap(code) // fails only for what isn't mapped
	}
}

// GetRemoteMemory implements process.Process. There is nothing to be read: where an
// interpreter would have its variables there is something else here.
func (a mappedAhead) GetRemoteMemory() remotememory.RemoteMemory {
	return remotememory.RemoteMemory{ReaderAt: noMemory{}}
}

type noMemory struct{}

// ReadAt implements io.ReaderAt.
func (noMemory) ReadAt([]byte, int64) (int, error) { return 0, errNoMemory }

var errNoMemory = errors.New("the file is mapped to be read ahead, and does not run")

// IterateMappings implements process.Process.
func (a mappedAhead) IterateMappings(f func(process.RawMapping) bool) (uint32, error) {
	return a.Process.IterateMappings(func(m process.RawMapping) bool { return !a.at[m.Vaddr] || f(m) })
}
