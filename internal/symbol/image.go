package symbol

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"sockleak/internal/elfguard"
	"sockleak/internal/stack"
)

// image is a parsed ELF file. What takes time is read when it is first needed.
type image struct {
	path string
	pid  uint32 // through which debug files of its mount namespace are found
	elf  *elf.File
	r    io.ReaderAt

	only   bool // no other file can have its symbols
	loaded bool
	debug  *os.File // separate debug file; nil if there is none
	syms   symtab
	gotab  *goTable   // nil if it is not a Go program
	lines  *dwarfInfo // nil without debug information
	errs   []error    // what couldn't be read; each is told once
}

// newImage parses the headers. r stays open as long as the image is used.
func newImage(r io.ReaderAt, path string, pid uint32) (*image, error) {
	img := &image{path: path, pid: pid, r: r}
	err := elfguard.Do(path, func() (err error) {
		img.elf, err = elf.NewFile(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		return nil
	})
	return img, err
}

// address turns an offset in the file into a virtual address.
func (m *image) address(offset uint64) (uint64, bool) {
	for _, p := range m.elf.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && offset >= p.Off && offset-p.Off < p.Filesz {
			return offset - p.Off + p.Vaddr, true
		}
	}
	return 0, false
}

// section returns the bounds of a section in memory.
func (m *image) section(i uint16) (start, end uint64) {
	if int(i) >= len(m.elf.Sections) {
		return 0, 0
	}
	s := m.elf.Sections[i]
	return s.Addr, s.Addr + s.Size
}

// load finds the symbols of every kind.
func (m *image) load() {
	if m.loaded {
		return
	}
	m.loaded = true
	sources := []*elf.File{m.elf}
	var debug *elf.File
	if !m.only && (m.elf.Section(".symtab") == nil || !hasDWARF(m.elf)) {
		var err error
		if m.debug, debug, err = findDebugFile(m.elf, m.path, m.pid); err != nil {
			m.fail(err)
		}
		if debug != nil {
			sources = append(sources, debug)
		}
	}
	m.fail(elfguard.Do(m.path, func() error { return m.loadSymbols(sources) }))
	m.fail(elfguard.Do(m.path, func() (err error) {
		m.gotab, err = newGoTable(m.elf, m.symbolNamed)
		return err
	}))
	for i, f := range sources {
		from := m.path
		if i > 0 {
			from = m.debug.Name()
		}
		if m.lines == nil && hasDWARF(f) {
			m.fail(elfguard.Do(from, func() (err error) {
				m.lines, err = newDWARF(f, m.fileOf(i))
				return err
			}))
		}
	}
}

// fileOf returns the open file of a source, nil if it isn't one.
func (m *image) fileOf(source int) *os.File {
	if source > 0 {
		return m.debug
	}
	f, _ := m.r.(*os.File)
	return f
}

func (m *image) loadSymbols(sources []*elf.File) error {
	var errs []error
	for _, f := range sources {
		errs = append(errs, m.syms.add(f, elf.SHT_SYMTAB))
	}
	if len(m.syms.entries) == 0 {
		errs = append(errs, m.syms.add(m.elf, elf.SHT_DYNSYM))
		mini, err := miniDebug(m.elf)
		if mini != nil {
			err = m.syms.add(mini, elf.SHT_SYMTAB)
		}
		errs = append(errs, err)
	}
	m.syms.sort()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("read symbols of %s: %w", m.path, err)
	}
	return nil
}

// symbolNamed returns the value of a function symbol, zero if there is none.
func (m *image) symbolNamed(name string) uint64 {
	for i := range m.syms.entries {
		if e := &m.syms.entries[i]; m.syms.name(e) == name {
			return e.value
		}
	}
	return 0
}

func (m *image) fail(err error) {
	if err != nil {
		m.errs = append(m.errs, err)
	}
}

// function returns the name and start of the function at addr, without lines.
func (m *image) function(addr uint64) (name string, start uint64, ok bool) {
	m.load()
	if m.gotab != nil {
		if fn := m.gotab.PCToFunc(addr); fn != nil {
			return fn.Name, fn.Entry, true
		}
	}
	return m.syms.lookup(addr, m.section)
}

// frames returns the functions at addr, callee first. at is the address that is
// shown: a return address is one more than what is looked up.
func (m *image) frames(addr, at uint64) ([]stack.Frame, error) {
	m.load()
	base := stack.Frame{Module: m.path, Address: at, Kind: stack.Native}
	if m.gotab != nil && m.gotab.PCToFunc(addr) != nil {
		base.Kind = stack.Go
	}
	if m.lines != nil {
		var frames []stack.Frame
		err := elfguard.Do(m.path, func() (err error) {
			frames, err = m.lines.frames(addr, base)
			return err
		})
		m.fail(err)
		if len(frames) > 0 {
			// Units with line tables only, and code without any unit, leave
			// the outermost function to the symbols.
			// So does C that is known outside by a better name than inside:
			// glibc calls its socket __socket.
			if last := &frames[len(frames)-1]; last.Function == "" || last.Function[0] == '_' {
				m.name(last, addr)
			}
			return frames, m.told()
		}
	}
	if m.gotab != nil {
		var frames []stack.Frame
		m.fail(elfguard.Do(m.path, func() error {
			frames = m.gotab.frames(addr, base)
			return nil
		}))
		if len(frames) > 0 {
			return frames, m.told()
		}
	}
	m.name(&base, addr)
	return []stack.Frame{base}, m.told()
}

// name fills in what Go's tables or the symbols know.
func (m *image) name(f *stack.Frame, addr uint64) {
	if m.gotab != nil {
		if file, line, fn := m.gotab.PCToLine(addr); fn != nil {
			f.Function = fn.Name
			if f.File == "" {
				f.File, f.Line = file, max(line, 0)
			}
			return
		}
	}
	name, _, ok := m.syms.lookup(addr, m.section)
	if ok && (f.Function == "" || nameRank(name, false) < nameRank(f.Function, false)) {
		f.Function = readable(name)
	}
}

// told returns the errors that were not returned before.
func (m *image) told() error {
	err := errors.Join(m.errs...)
	m.errs = nil
	return err
}

func (m *image) close() {
	if m.lines != nil {
		m.lines.close()
	}
	if m.debug != nil {
		_ = m.debug.Close() // only read from
	}
}
