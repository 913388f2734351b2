package deepstack

import (
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/elfunwindinfo"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/stackdeltatypes"
	"go.opentelemetry.io/ebpf-profiler/process"

	"sockleak/internal/elfguard"
	"sockleak/internal/rootfile"
)

// synchronize has the profiler look at a process. What it reads of the process's
// files is bounded, and a panic over one of them ends the Tier, not the program.
func (m *manager) synchronize(p process.Process) error {
	return elfguard.Do(fmt.Sprintf("the files of process %d", p.PID()), func() error {
		p := guarded{p}
		m.processes.SynchronizeProcess(p)
		return m.rubies.complete(p)
	})
}

// guarded opens the files of a process so that only so much of each is read, and
// none is mapped, which its owner could make a fault by truncating it.
type guarded struct{ process.Process }

// bounded is an open file.
type bounded struct {
	*elfguard.Reader
	process.ReadAtCloser
}

// ReadAt implements io.ReaderAt.
func (b bounded) ReadAt(p []byte, off int64) (int, error) { return b.Reader.ReadAt(p, off) }

// OpenMappingFile implements process.Process.
func (g guarded) OpenMappingFile(m *process.RawMapping) (process.ReadAtCloser, error) {
	f, err := g.Process.OpenMappingFile(m)
	if err != nil {
		return nil, err
	}
	return bounded{elfguard.NewReader(f, elfguard.MaxRead), f}, nil
}

// OpenELF implements pfelf.ELFOpener, for files that another one names.
func (g guarded) OpenELF(path string) (*pfelf.File, error) {
	f, _, err := rootfile.OpenIn(fmt.Sprintf("/proc/%d/root", g.PID()), path)
	if err != nil {
		return nil, err
	}
	return pfelf.NewFileOwned(bounded{elfguard.NewReader(f, elfguard.MaxRead), f})
}

// provider reads unwind tables. A file whose tables are damaged has none.
type provider struct {
	nativeunwind.StackDeltaProvider
}

func newProvider() provider { return provider{elfunwindinfo.NewStackDeltaProvider()} }

// GetIntervalDataForFile implements nativeunwind.StackDeltaProvider.
func (p provider) GetIntervalDataForFile(ref *pfelf.Reference) (data *stackdeltatypes.IntervalData, err error) {
	err = elfguard.Do(ref.FileName(), func() error {
		data, err = p.StackDeltaProvider.GetIntervalDataForFile(ref)
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read unwind information: %w", err)
	}
	return data, err
}
