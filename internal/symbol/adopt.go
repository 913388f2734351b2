package symbol

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sockleak/internal/rootfile"
)

// Mapped is a mapping of a file in a process, for those who don't get it from
// Capture.
type Mapped struct {
	PID        uint32
	Start, End uint64 // virtual addresses: [Start, End)
	Inode      uint64
	Path       string // as the process sees it
}

// OpenMapped opens the very file of a mapping, whatever its path leads to now. The
// identity is by what /proc/PID/maps can't tell: it is another one for a file that
// was written to, or that got the inode number of one that is gone.
func OpenMapped(m Mapped) (*os.File, rootfile.Identity, error) {
	return openMapped(m.PID, &mapping{start: m.Start, end: m.End, inode: m.Inode, path: m.Path})
}

// Adopt takes over a mapped file that is open already, and returns the module
// for it. m.Start and m.End don't matter.
func (s *Symbolizer) Adopt(m Mapped, f *os.File) (*Module, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("stat %s: %w", m.Path, err)
	}
	id := rootfile.Identify(&st)
	key := fileKey{id.Dev, id.Inode, m.Path}
	have := s.files.byKey[key]
	if have != nil && have.id == id && have.f != nil {
		have.pid = m.PID
		_ = f.Close() // a file only read from
		return s.shared(moduleKey{m.Path, have}), nil
	}
	if have == nil || have.id != id {
		have = &file{id: id, path: m.Path}
		s.files.byKey[key] = have
	}
	have.pid = m.PID
	var magic [len(elf.ELFMAG)]byte
	_, err := f.ReadAt(magic[:], 0)
	have.elf = err == nil && bytes.Equal(magic[:], []byte(elf.ELFMAG))
	s.files.hold(have, f)
	return s.shared(moduleKey{m.Path, have}), nil
}

// VDSO returns the module of the code that the kernel maps into every process.
func (s *Symbolizer) VDSO() *Module { return s.shared(moduleKey{path: "[vdso]"}) }

// Path returns the path of the module as the process sees it, without what the
// kernel appends to that of a deleted file.
func (m *Module) Path() string { return strings.TrimSuffix(m.path, deletedMark) }

// At returns the location of a virtual address of the module's ELF file, as the
// file's program headers have it.
func (s *Symbolizer) At(m *Module, addr uint64) (Location, error) {
	var img *image
	var err error
	if m.vdso {
		if s.vdso == nil && s.vdsoErr == nil {
			s.vdso, s.vdsoErr = s.newVDSO()
		}
		img, err = s.vdso, s.vdsoErr
	} else {
		img, err = s.files.image(m.file)
	}
	if err != nil {
		return Location{}, err
	}
	if offset, ok := FileOffset(img.elf, addr); ok {
		return Location{m, offset}, nil
	}
	return Location{}, fmt.Errorf("%s: %w", m.path, errNoSegment)
}

// Before returns the location one byte back: in the call that returns to l.
func (l Location) Before() Location { return Location{l.module, l.offset - 1} }

// Next returns the location one byte further: the return address of a call whose
// last byte is at l.
func (l Location) Next() Location { return Location{l.module, l.offset + 1} }
