package symbol

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

// maxSymbols bounds the entries of one symbol table: the largest browsers have
// some two million.
const maxSymbols = 8 << 20

// maxName bounds the length of a symbol's name.
const maxName = 64 << 10

// symbolEntry is a function in a symbol table. Its name is read when it is
// asked for.
type symbolEntry struct {
	value, size uint64
	name        uint32 // offset in the string table
	section     uint16
	names       uint8 // index in symtab.names
	local       bool
}

// symtab is the functions of all symbol tables of a file, by value.
type symtab struct {
	entries []symbolEntry
	names   []io.ReaderAt
}

var errSymbols = errors.New("malformed symbol table")

// add appends the functions in the symbol table of the given type.
func (t *symtab) add(f *elf.File, kind elf.SectionType) error {
	sec, names, err := symbolTable(f, kind)
	if sec == nil {
		return err
	}
	t.names = append(t.names, names.ReaderAt)
	of := uint8(len(t.names) - 1)
	return eachFunction(f, sec, func(e symbolEntry, _ elf.SymType) {
		e.names = of
		t.entries = append(t.entries, e)
	})
}

// symbolTable returns the section with the symbol table of the given type, and the
// one with its names; nil if there is none.
func symbolTable(f *elf.File, kind elf.SectionType) (sec, names *elf.Section, err error) {
	sec = f.SectionByType(kind)
	if sec == nil || sec.Type == elf.SHT_NOBITS {
		return nil, nil, nil
	}
	size := uint64(symbolSize(f))
	if sec.Entsize != size || sec.Link == 0 || int(sec.Link) >= len(f.Sections) || sec.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, nil, fmt.Errorf("%s: %w", sec.Name, errSymbols)
	}
	if sec.Size/size > maxSymbols {
		return nil, nil, fmt.Errorf("%s: more than %d symbols", sec.Name, maxSymbols)
	}
	return sec, f.Sections[sec.Link], nil
}

// symbolSize is that of an entry, in bytes.
func symbolSize(f *elf.File) int {
	if f.Class == elf.ELFCLASS32 {
		return elf.Sym32Size
	}
	return elf.Sym64Size
}

// eachFunction calls g with the entries of a symbol table that can be functions.
func eachFunction(f *elf.File, sec *elf.Section, g func(symbolEntry, elf.SymType)) error {
	size := symbolSize(f)
	r := io.NewSectionReader(sec.ReaderAt, 0, int64(sec.Size))
	buf := make([]byte, 4096*size)
	for {
		n, err := io.ReadFull(r, buf)
		for b := buf[:n-n%size]; len(b) > 0; b = b[size:] {
			if e, kind, ok := decodeSymbol(f, b[:size]); ok {
				g(e, kind)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read symbol table: %w", err)
		}
	}
}

// decodeSymbol reads one entry; false if it can't be a function.
func decodeSymbol(f *elf.File, b []byte) (e symbolEntry, kind elf.SymType, ok bool) {
	o := f.ByteOrder
	e.name = o.Uint32(b)
	var info byte
	if f.Class == elf.ELFCLASS64 {
		info, e.section = b[4], o.Uint16(b[6:])
		e.value, e.size = o.Uint64(b[8:]), o.Uint64(b[16:])
	} else {
		e.value, e.size = uint64(o.Uint32(b[4:])), uint64(o.Uint32(b[8:]))
		info, e.section = b[12], o.Uint16(b[14:])
	}
	const ifunc = elf.SymType(10) // STT_GNU_IFUNC
	kind = elf.ST_TYPE(info)
	switch kind {
	case elf.STT_FUNC, elf.STT_NOTYPE, ifunc:
	default:
		return e, kind, false
	}
	e.local = elf.ST_BIND(info) == elf.STB_LOCAL
	return e, kind, e.name != 0 && int(e.section) < len(f.Sections) && f.Sections[e.section].Flags&elf.SHF_EXECINSTR != 0
}

// sort makes the table ready for lookups.
func (t *symtab) sort() {
	slices.SortFunc(t.entries, func(a, b symbolEntry) int {
		switch {
		case a.value != b.value:
			if a.value < b.value {
				return -1
			}
			return 1
		case a.size != b.size: // the larger last: it is looked at first
			if a.size < b.size {
				return -1
			}
			return 1
		}
		return 0
	})
	t.entries = slices.Clip(t.entries)
}

// maxNested is how many symbols inside a function are stepped over to find it:
// labels in assembly.
const maxNested = 64

// lookup finds the function that addr lies in. A symbol with a size counts only
// for what it covers; one without, as assemblers leave them, up to the next
// symbol of its section.
func (t *symtab) lookup(addr uint64, section func(uint16) (start, end uint64)) (name string, start uint64, ok bool) {
	next := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].value > addr })
	label := -1
	for i := next - 1; i >= 0 && i >= next-maxNested; i-- {
		e := &t.entries[i]
		if e.size > 0 && addr-e.value < e.size {
			return t.best(i), e.value, true
		}
		if e.size == 0 && label < 0 && e.value == t.entries[next-1].value {
			if lo, hi := section(e.section); addr >= lo && addr < hi && e.value >= lo {
				label = i
			}
		}
	}
	if label >= 0 {
		return t.best(label), t.entries[label].value, true
	}
	return "", 0, false
}

// best returns the most readable name of those that entry i's function has:
// libc knows it as socket and as __socket.
func (t *symtab) best(i int) string {
	value, size := t.entries[i].value, t.entries[i].size
	for i > 0 && t.entries[i-1].value == value {
		i--
	}
	var name string
	rank := 1 << 30
	for n := 0; i < len(t.entries) && t.entries[i].value == value && n < maxNested; i, n = i+1, n+1 {
		if t.entries[i].size != size {
			continue
		}
		s := t.name(&t.entries[i])
		if r := nameRank(s, t.entries[i].local); s != "" && (r < rank || r == rank && s < name) {
			name, rank = s, r
		}
	}
	return name
}

// nameRank is lower for better names.
func nameRank(s string, local bool) int {
	r := 0
	if local {
		r++
	}
	if len(s) > 1 && s[0] == '_' && s[1] != 'Z' && s[1] != 'R' {
		r += 2
		if s[1] == '_' {
			r += 2
		}
	}
	return r
}

// name reads a symbol's name from the string table.
func (t *symtab) name(e *symbolEntry) string {
	for size := 128; size <= maxName; size *= 8 {
		buf := make([]byte, size)
		n, err := t.names[e.names].ReadAt(buf, int64(e.name))
		if i := bytes.IndexByte(buf[:n], 0); i >= 0 {
			return string(buf[:i])
		}
		if err != nil {
			return ""
		}
	}
	return ""
}
