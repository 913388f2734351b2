package deepstack

import (
	"os"
	"sync"

	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/reporter"

	"sockleak/internal/symbol"
)

const (
	maxFiles   = 1 << 14 // files that are remembered
	maxWaiting = 256     // of them, those held open that no stack has needed yet
)

// files are the mapped files that the profiler has seen. It tells of each while
// a process that maps it lives; it is opened then, because the process may be
// gone, and the file deleted, when a name is asked for.
type files struct {
	mu      sync.Mutex
	byID    map[libpf.FileID]*mapped
	order   []libpf.FileID // oldest first
	waiting []libpf.FileID // those with an open file, oldest first

	// naming protects what follows, and the modules. It is held for long.
	naming  sync.Mutex
	symbols *symbol.Symbolizer
}

type mapped struct {
	at     symbol.Mapped
	vdso   bool
	opened bool           // had a file
	file   *os.File       // until the symbols have it
	module *symbol.Module // protected by naming
}

func newFiles() *files {
	return &files{byID: map[libpf.FileID]*mapped{}, symbols: symbol.New(symbol.Options{})}
}

// ReportExecutable implements the profiler's reporter.ExecutableReporter.
func (s *files) ReportExecutable(e *reporter.ExecutableMetadata) {
	m := &mapped{
		at: symbol.Mapped{
			PID: uint32(e.Process.PID()), Start: e.Mapping.Vaddr, End: e.Mapping.Vaddr + e.Mapping.Length,
			// The path may be in a buffer that is used again.
			Inode: e.Mapping.Inode, Path: libpf.Intern(e.Mapping.Path).String(),
		},
	}
	if m.at.Path == process.VdsoPathName {
		m.vdso, m.at.Path = true, "[vdso]"
	} else if f, _, err := symbol.OpenMapped(m.at); err == nil {
		// Without the file there are still its name and the offset.
		m.file, m.opened = f, true
	}
	s.add(e.MappingFile.Value().FileID, m)
}

func (s *files) add(id libpf.FileID, m *mapped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.byID[id]; have != nil {
		if have.opened || have.vdso || m.file == nil {
			closeFile(m)
			return
		}
	} else {
		s.order = append(s.order, id)
	}
	s.byID[id] = m
	if m.file != nil {
		s.waiting = append(s.waiting, id)
	}
	if len(s.waiting) > maxWaiting {
		closeFile(s.byID[s.waiting[0]])
		s.waiting = s.waiting[1:]
	}
	if len(s.order) > maxFiles {
		closeFile(s.byID[s.order[0]])
		delete(s.byID, s.order[0])
		s.order = s.order[1:]
	}
}

// closeFile lets go of the file, if there is one: it was only read from.
func closeFile(m *mapped) {
	if m != nil && m.file != nil {
		_ = m.file.Close()
		m.file = nil
	}
}

// module returns what has the symbols of a file, nil if there is nothing, and
// the path of the file. The caller holds naming.
func (s *files) module(id libpf.FileID) (*symbol.Module, string) {
	s.mu.Lock()
	m := s.byID[id]
	if m == nil {
		s.mu.Unlock()
		return nil, ""
	}
	f := m.file
	m.file = nil
	s.mu.Unlock()
	if m.module == nil {
		switch {
		case m.vdso:
			m.module = s.symbols.VDSO()
		case f != nil:
			// On failure the frame has its file and offset, but no name.
			m.module, _ = s.symbols.Adopt(m.at, f)
		}
	}
	return m.module, m.at.Path
}

func (s *files) close() error {
	s.mu.Lock()
	for _, m := range s.byID {
		closeFile(m)
	}
	clear(s.byID)
	s.mu.Unlock()
	s.naming.Lock()
	defer s.naming.Unlock()
	return s.symbols.Close()
}
