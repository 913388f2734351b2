package symbol

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"sockleak/internal/elfguard"
)

// Functions finds functions of an ELF file by their names: in the dynamic symbols
// if those define the first of the names, else in all. The offsets are in the file,
// in bytes. There are none if the first isn't defined, or the file isn't ELF. Memory
// is bounded whatever is in the file, path is for errors.
func Functions(r io.ReaderAt, path string, names ...string) (offsets map[string]uint64, machine elf.Machine, err error) {
	err = elfguard.Do(path, func() error {
		f, err := elf.NewFile(elfguard.NewReader(r, elfguard.MaxRead))
		if _, isELF := errors.AsType[*elf.FormatError](err); isELF || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // what is mapped need not be ELF
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		machine = f.Machine
		for _, kind := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
			found, err := namedFunctions(f, kind, names)
			if err != nil {
				return fmt.Errorf("read symbols of %s: %w", path, err)
			}
			if _, ok := found[names[0]]; ok {
				offsets = found
				return nil
			}
		}
		return nil
	})
	return offsets, machine, err
}

// namedFunctions looks for names in one symbol table.
func namedFunctions(f *elf.File, kind elf.SectionType, names []string) (map[string]uint64, error) {
	sec, table, err := symbolTable(f, kind)
	if sec == nil {
		return nil, err
	}
	at := map[uint32]string{}
	// Most files don't have the first.
	if err := findNames(table, names[:1], at); err != nil || len(at) == 0 {
		return nil, err
	}
	if err := findNames(table, names[1:], at); err != nil {
		return nil, err
	}
	found := map[string]uint64{}
	err = eachFunction(f, sec, func(e symbolEntry, kind elf.SymType) {
		name, wanted := at[e.name]
		if !wanted || kind != elf.STT_FUNC {
			return
		}
		// One that only calls the function has no address for it.
		if offset, ok := FileOffset(f, e.value); ok && e.value != 0 {
			found[name] = offset
		}
	})
	return found, err
}

// maxPlaces bounds where names are in a table of them: more often than once, because
// linkers put a name into the end of a longer one.
const maxPlaces = 1 << 15

// findNames adds the offsets in a string table at which names are, up to their
// zeros. It reads the table in parts.
func findNames(table *elf.Section, names []string, at map[uint32]string) error {
	longest := 0
	for _, name := range names {
		longest = max(longest, len(name))
	}
	buf := make([]byte, 256<<10)
	n := 0
	for base, off := int64(0), int64(0); off < int64(table.FileSize); {
		read, err := table.ReadAt(buf[n:], off)
		if err != nil && err != io.EOF || read == 0 {
			return fmt.Errorf("%s: %w", table.Name, errors.Join(errSymbols, err))
		}
		n, off = n+read, off+int64(read)
		for _, name := range names {
			findIn(buf[:n], base, name, at)
		}
		if len(at) > maxPlaces {
			return fmt.Errorf("%s: %w", table.Name, errSymbols)
		}
		// What may go on in the next part.
		rest := min(n, longest)
		copy(buf, buf[n-rest:n])
		base, n = off-int64(rest), rest
	}
	return nil
}

// findIn adds those in one part, which begins at base.
func findIn(part []byte, base int64, name string, at map[uint32]string) {
	text := append([]byte(name), 0)
	for from := 0; ; {
		i := bytes.Index(part[from:], text)
		if i < 0 {
			return
		}
		at[uint32(base+int64(from+i))] = name
		from += i + len(text)
	}
}

// FileOffset is where in an ELF file the code at a virtual address is, in bytes;
// false if no part of the file is mapped there as code.
func FileOffset(f *elf.File, addr uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// GoVersion is the version of Go that a program was built by, as runtime.Version has
// it; empty if it wasn't. path is for errors.
func GoVersion(r io.ReaderAt, path string) (version string, err error) {
	err = elfguard.Do(path, func() error {
		info, err := buildinfo.Read(elfguard.NewReader(r, elfguard.MaxRead))
		if err == nil {
			version = info.GoVersion
		}
		return nil // what is mapped need not be built by Go
	})
	return version, err
}
