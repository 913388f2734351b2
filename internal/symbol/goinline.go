package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"sort"

	"sockleak/internal/stack"
)

// goInlines reads from a Go program which functions were inlined where: what the
// runtime knows for its own stack traces, and debug/gosym does not read. See
// runtime/symtab.go, runtime/symtabinl.go and type _func in runtime/runtime2.go of
// Go's source; their form is the same since Go 1.20.
type goInlines struct {
	elf   *elf.File
	order binary.ByteOrder
	data  []byte // .gopclntab
	text  uint64 // what addresses in it count from
	// Parts of data, see type pcHeader.
	names, pcs, functions []byte
	count                 int    // of functions
	quantum               uint64 // least size of an instruction
	funcdata              uint64 // address of go:func.*
}

const (
	goMagic     = 0xfffffff1 // of pcHeader, since Go 1.20
	goHeader    = 8 + 8*8
	goFunction  = 44 // bytes of type _func before its tables
	goInline    = 16 // bytes of type inlinedCall
	inlineIndex = 2  // PCDATA_InlTreeIndex
	inlineTree  = 3  // FUNCDATA_InlTree
	// maxGoInlined bounds how many functions are taken to be inlined in another.
	maxGoInlined = 64
)

// newGoInlines returns nil if the program has no such information that is known how
// to read.
func newGoInlines(f *elf.File, data []byte, pclntab, text uint64) *goInlines {
	if f.Class != elf.ELFCLASS64 || len(data) < goHeader || f.ByteOrder.Uint32(data) != goMagic || data[7] != 8 {
		return nil
	}
	g := &goInlines{elf: f, order: f.ByteOrder, data: data, text: text, quantum: uint64(data[6])}
	word := func(i int) uint64 { return f.ByteOrder.Uint64(data[8+8*i:]) }
	g.names, g.pcs, g.functions = tail(data, word(3)), tail(data, word(6)), tail(data, word(7))
	if count := word(0); count < uint64(len(g.functions))/8 {
		g.count = int(count)
	}
	g.funcdata = funcdataAddress(f, pclntab, pclntab+word(3))
	if g.count == 0 || g.funcdata == 0 {
		return nil
	}
	return g
}

// tail is what comes after an offset.
func tail(b []byte, from uint64) []byte {
	if from > uint64(len(b)) {
		return nil
	}
	return b[from:]
}

// funcdataAddress reads where go:func.* is from moduledata, which begins with the
// addresses of pclntab and of its names. Before Go 1.26 that has no section of its
// own.
func funcdataAddress(f *elf.File, pclntab, names uint64) uint64 {
	const gofunc = 40 * 8
	for _, name := range []string{".go.module", ".noptrdata", ".data"} {
		s := f.Section(name)
		if s == nil || s.Type == elf.SHT_NOBITS || s.Size > maxPclntab {
			continue
		}
		for _, at := range moduleData(f, s, pclntab) {
			if pointer(f, s, at) == pclntab && pointer(f, s, at+8) == names {
				return pointer(f, s, at+gofunc)
			}
		}
	}
	return 0
}

// moduleData returns where in a section there may be moduledata. In a
// position-independent program its pointers may be in relocations alone.
func moduleData(f *elf.File, s *elf.Section, pclntab uint64) (at []uint64) {
	data, err := s.Data()
	if err != nil {
		return nil
	}
	word := make([]byte, 8)
	f.ByteOrder.PutUint64(word, pclntab)
	for from := 0; ; from += 8 {
		i := bytes.Index(data[min(from, len(data)):], word)
		if i < 0 {
			break
		}
		from += i
		at = append(at, uint64(from))
	}
	eachRelative(f, func(address, value uint64) bool {
		if value == pclntab && address >= s.Addr && address-s.Addr < s.Size {
			at = append(at, address-s.Addr)
		}
		return true
	})
	return at
}

// at returns the functions that are inlined at an address, callee first, each with
// the place of its call. The one that has the code is not among them; pc is where
// it calls the last of them, addr if there are none.
func (g *goInlines) at(addr uint64, lines *goTable) (inlined []stack.Frame, pc uint64) {
	pc = addr
	entry, f, ok := g.function(addr)
	if !ok {
		return nil, addr
	}
	tree, ok := g.tree(f)
	for ok && len(inlined) < maxGoInlined {
		index, found := g.value(f, pc, entry)
		var call [goInline]byte
		if !found || index < 0 || !readAddress(g.elf, tree+uint64(index)*goInline, call[:]) {
			break
		}
		file, line, fn := lines.PCToLine(pc)
		name := g.name(g.order.Uint32(call[4:]))
		if fn == nil || name == "" {
			break
		}
		inlined = append(inlined, stack.Frame{Function: name, File: file, Line: max(line, 0), Inlined: true})
		pc = entry + uint64(g.order.Uint32(call[8:]))
	}
	return inlined, pc
}

// function finds the function of an address: its entry and its type _func.
func (g *goInlines) function(addr uint64) (entry uint64, f []byte, ok bool) {
	start := func(i int) uint64 { return g.text + uint64(g.order.Uint32(g.functions[8*i:])) }
	i := sort.Search(g.count, func(i int) bool { return start(i) > addr }) - 1
	if i < 0 {
		return 0, nil, false
	}
	f = tail(g.functions, uint64(g.order.Uint32(g.functions[8*i+4:])))
	return start(i), f, len(f) >= goFunction
}

// tree returns the address of a function's table of inlined calls.
func (g *goInlines) tree(f []byte) (uint64, bool) {
	tables, kinds := uint64(g.order.Uint32(f[28:])), int(f[43])
	offset := tail(f, goFunction+4*tables+4*inlineTree)
	if kinds <= inlineTree || len(offset) < 4 {
		return 0, false
	}
	const none = 1<<32 - 1
	at := g.order.Uint32(offset)
	return g.funcdata + uint64(at), at != none
}

// value reads from the table of a function, one value for each range of addresses,
// which call is inlined at pc; negative if none is.
func (g *goInlines) value(f []byte, pc, entry uint64) (index int32, ok bool) {
	if g.order.Uint32(f[28:]) <= inlineIndex || len(f) < goFunction+4*inlineIndex+4 {
		return 0, false
	}
	at := g.order.Uint32(f[goFunction+4*inlineIndex:])
	table := tail(g.pcs, uint64(at))
	index = -1
	for end := entry; at != 0; {
		delta, n := binary.Uvarint(table)
		if n <= 0 || delta == 0 && end != entry {
			return 0, false
		}
		length, m := binary.Uvarint(table[n:])
		if m <= 0 {
			return 0, false
		}
		table = table[n+m:]
		index += int32(uint32(-(delta & 1)) ^ uint32(delta>>1))
		if end += length * g.quantum; pc < end {
			return index, true
		}
	}
	return 0, false
}

// name reads the name at an offset.
func (g *goInlines) name(at uint32) string {
	b := tail(g.names, uint64(at))
	if n := bytes.IndexByte(b, 0); n >= 0 {
		return string(b[:n])
	}
	return ""
}

// readAddress reads what the file has for a virtual address.
func readAddress(f *elf.File, addr uint64, b []byte) bool {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			_, err := p.ReadAt(b, int64(addr-p.Vaddr))
			return err == nil
		}
	}
	return false
}
