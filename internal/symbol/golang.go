package symbol

import (
	"debug/elf"
	"debug/gosym"
	"fmt"

	"sockleak/internal/stack"
)

// maxPclntab bounds Go's table of functions and lines; the largest programs
// have some 100 MiB.
const maxPclntab = 512 << 20

// goTable is what a Go program needs for its own stack traces. It is there in
// stripped programs too. Without inlines, functions that were inlined are not told
// apart: the line is that of the innermost, the function the one that has the code.
type goTable struct {
	*gosym.Table
	inlines *goInlines // nil for programs of Go before 1.20
}

// frames returns the functions at an address, callee first, with what base says of
// all of them; none if the address is of no function.
func (t *goTable) frames(addr uint64, base stack.Frame) []stack.Frame {
	var frames []stack.Frame
	pc := addr
	if t.inlines != nil {
		frames, pc = t.inlines.at(addr, t)
	}
	file, line, fn := t.PCToLine(pc)
	if fn == nil {
		return nil
	}
	frames = append(frames, stack.Frame{Function: fn.Name, File: file, Line: max(line, 0)})
	for i := range frames {
		frames[i].Module, frames[i].Address, frames[i].Kind = base.Module, base.Address, base.Kind
	}
	return frames
}

// newGoTable reads the table of a Go program; nil if it isn't one.
func newGoTable(f *elf.File, symbol func(string) uint64) (*goTable, error) {
	sec := f.Section(".gopclntab")
	if sec == nil {
		sec = f.Section(".data.rel.ro.gopclntab")
	}
	if sec == nil || sec.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if sec.Size > maxPclntab {
		return nil, fmt.Errorf("%s: %d bytes is too large", sec.Name, sec.Size)
	}
	data, err := sec.Data()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", sec.Name, err)
	}
	text := textStart(f, data, sec.Addr)
	if text == 0 {
		text = symbol("runtime.text")
	}
	if s := f.Section(".text"); text == 0 && s != nil && isEntry(f, data, s.Addr) {
		text = s.Addr
	}
	if text == 0 {
		return nil, fmt.Errorf("%s: the start of the code is not known", sec.Name)
	}
	tab, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", sec.Name, err)
	}
	return &goTable{tab, newGoInlines(f, data, sec.Addr, text)}, nil
}

// textStart returns what runtime.text was when the program was linked, from
// where addresses in the table count; zero if it can't be found. It is in the
// table's header (up to Go 1.25), or in moduledata, which has a section of its
// own since Go 1.26. It can't be taken to be the start of .text: a C linker puts
// its own code first.
func textStart(f *elf.File, data []byte, pclntab uint64) uint64 {
	const text = 22 * 8 // see type moduledata in runtime/symtab.go
	if f.Class != elf.ELFCLASS64 {
		return 0
	}
	if len(data) >= 32 {
		if v := f.ByteOrder.Uint64(data[24:]); v != 0 {
			return v
		}
	}
	sec := f.Section(".go.module")
	if sec == nil || pointer(f, sec, 0) != pclntab {
		return 0
	}
	return pointer(f, sec, text)
}

// pointer reads an address in a section. In a position-independent program it
// is filled in by a relocation.
func pointer(f *elf.File, sec *elf.Section, at uint64) uint64 {
	var word [8]byte
	if at+8 > sec.Size {
		return 0
	}
	if _, err := sec.ReadAt(word[:], int64(at)); err != nil {
		return 0
	}
	if v := f.ByteOrder.Uint64(word[:]); v != 0 {
		return v
	}
	return relocated(f, sec.Addr+at)
}

// relocated returns the addend of the relative relocation at addr.
func relocated(f *elf.File, addr uint64) (value uint64) {
	eachRelative(f, func(at, v uint64) bool {
		if at == addr {
			value = v
		}
		return at != addr
	})
	return value
}

// eachRelative calls g with the address and the addend of each relocation, until it
// returns false.
func eachRelative(f *elf.File, g func(addr, value uint64) bool) {
	rela := f.Section(".rela.dyn")
	if rela == nil || rela.Size > maxPclntab {
		return
	}
	data, err := rela.Data()
	if err != nil {
		return
	}
	for ; len(data) >= 24; data = data[24:] {
		if !g(f.ByteOrder.Uint64(data), f.ByteOrder.Uint64(data[16:])) {
			return
		}
	}
}

// isEntry checks a start of the code: the program's entry point, which Go's own
// linker sets, must then be where the table has it.
func isEntry(f *elf.File, data []byte, text uint64) bool {
	arch := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm"}[f.Machine]
	tab, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
	if err != nil {
		return false
	}
	entry := tab.LookupFunc("_rt0_" + arch + "_linux")
	return entry != nil && entry.Entry == f.Entry
}

// readCode reads the instructions at a virtual address.
func readCode(f *elf.File, addr uint64, code []byte) bool {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			_, err := p.ReadAt(code, int64(addr-p.Vaddr))
			return err == nil
		}
	}
	return false
}
