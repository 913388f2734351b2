package deepstack

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/elfunwindinfo"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/stackdeltatypes"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/support"

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
	if err == nil && data != nil {
		err = fit(data)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read unwind information: %w", err)
	}
	return data, err
}

// maxSpan bounds where the code of one file lies, in bytes. For all files together there
// are 65,536 pages of 64 KB in the kernel's table of them (stack_delta_page_to_info).
const maxSpan = 1 << 30

var errSpan = errors.New("damaged file: it has code where none can be")

// fit leaves out the blocks that are empty, and those that go beyond the first and the
// last, which only a damaged file has: the profiler makes room from the one to the other and goes on outside of it
// (v0.0.202633, execinfomanager, loadDeltas).
func fit(data *stackdeltatypes.IntervalData) error {
	keep := func(f func(*stackdeltatypes.BasicBlock) bool) {
		data.NumDeltas = 0
		data.Blocks = slices.DeleteFunc(data.Blocks, func(b *stackdeltatypes.BasicBlock) bool {
			if !f(b) {
				return true
			}
			data.NumDeltas += uint32(len(b.Deltas))
			return false
		})
	}
	keep(func(b *stackdeltatypes.BasicBlock) bool { return b.Start < b.End })
	if len(data.Blocks) == 0 {
		return nil
	}
	from, to := data.Blocks[0].Start, data.Blocks[len(data.Blocks)-1].End
	if to <= from || to-from > maxSpan {
		return errSpan
	}
	page := func(at uint64) uint64 { return at >> support.StackDeltaPageBits }
	inside := func(at uint64) bool { return page(from) <= page(at) && page(at) <= page(to) }
	fits := func(b *stackdeltatypes.BasicBlock) bool {
		return inside(b.Start) && inside(b.End) && !slices.ContainsFunc(b.Deltas, func(d stackdeltatypes.StackDelta) bool {
			at := b.Start + uint64(d.Offset)
			if d.Info == stackdeltatypes.UnwindInfoSignal {
				at-- // as it is counted there
			}
			return !inside(at)
		})
	}
	if !fits(data.Blocks[0]) || !fits(data.Blocks[len(data.Blocks)-1]) {
		return errSpan
	}
	keep(fits)
	return nil
}
