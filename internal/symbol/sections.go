package symbol

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits for debug sections. What is compressed is unpacked to memory; the rest
// is mapped and costs address space.
const (
	maxUnpacked = 512 << 20
	maxMapped   = 16 << 30
)

// sections is the debug sections of a file.
type sections struct {
	info, abbrev []byte
	mapped       [][]byte // to be unmapped
}

// hasDWARF says whether a file has debug information.
func hasDWARF(f *elf.File) bool {
	for _, name := range []string{".debug_info", ".zdebug_info"} {
		if s := f.Section(name); s != nil && s.Type != elf.SHT_NOBITS {
			return true
		}
	}
	return false
}

// newDWARF reads the debug information of f. file is the open file, from which
// large sections are mapped rather than read; nil if there is none.
func newDWARF(f *elf.File, file *os.File) (*dwarfInfo, error) {
	d := &dwarfInfo{order: f.ByteOrder}
	err := d.open(f, file)
	if err == nil {
		err = d.index()
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("debug information: %w", err)
	}
	return d, nil
}

func (d *dwarfInfo) open(f *elf.File, file *os.File) error {
	raw := map[string][]byte{}
	for _, name := range []string{"info", "abbrev", "line", "str", "ranges", "line_str", "str_offsets", "addr", "rnglists"} {
		b, err := d.section(f, file, name)
		if err != nil {
			return err
		}
		raw[name] = b
	}
	d.info, d.abbrev = raw["info"], raw["abbrev"]
	var err error
	d.data, err = dwarf.New(raw["abbrev"], nil, nil, raw["info"], raw["line"], nil, raw["ranges"], raw["str"])
	if err != nil {
		return err
	}
	for _, name := range []string{"line_str", "str_offsets", "addr", "rnglists"} {
		if err := d.data.AddSection(".debug_"+name, raw[name]); err != nil {
			return fmt.Errorf(".debug_%s: %w", name, err)
		}
	}
	return nil
}

// section returns the content of a debug section, nil if there is none.
func (s *sections) section(f *elf.File, file *os.File, name string) ([]byte, error) {
	for _, prefix := range []string{".debug_", ".zdebug_"} {
		sec := f.Section(prefix + name)
		if sec == nil || sec.Type == elf.SHT_NOBITS {
			continue
		}
		packed := sec.Flags&elf.SHF_COMPRESSED != 0 || strings.HasPrefix(sec.Name, ".z")
		if !packed && file != nil {
			return s.mmap(file, sec)
		}
		if sec.Size > maxUnpacked {
			return nil, fmt.Errorf("%s: %d bytes is too large", sec.Name, sec.Size)
		}
		b, err := sec.Data()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", sec.Name, err)
		}
		return b, nil
	}
	return nil, nil
}

// mmap maps a section. The kernel takes the pages back when it needs them,
// which it couldn't do with a copy.
func (s *sections) mmap(file *os.File, sec *elf.Section) ([]byte, error) {
	if sec.FileSize == 0 {
		return nil, nil
	}
	st, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", file.Name(), err)
	}
	size := uint64(st.Size())
	if sec.Offset > size || sec.FileSize > size-sec.Offset || sec.FileSize > maxMapped {
		return nil, fmt.Errorf("%s: %w", sec.Name, errors.New("section beyond the end of the file"))
	}
	skew := sec.Offset % uint64(os.Getpagesize())
	b, err := unix.Mmap(int(file.Fd()), int64(sec.Offset-skew), int(sec.FileSize+skew), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", sec.Name, err)
	}
	s.mapped = append(s.mapped, b)
	return b[skew:], nil
}

// close unmaps the sections. Nothing that was read from them may be used
// afterwards but strings, which are copies.
func (s *sections) close() {
	for _, b := range s.mapped {
		_ = unix.Munmap(b) // fails only for what isn't mapped
	}
	s.mapped = nil
}
