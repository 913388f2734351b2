package unwind

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/symbol"
)

// Where the code of a made file is: in the file, and in memory.
const (
	codeAt   = 0x1000
	codeSize = 0x1000
	loadedAt = 0x400000
)

// Bytes of unwind information (DWARF 5, 6.4.2; the "z" augmentations: LSB 5.0,
// 10.6). Factored offsets are in units of -8.
const (
	advance     = 0x40 // low bits: by how much
	offsetOf    = 0x80 // low bits: register; operand: factored offset
	undefined   = 0x07
	defCFA      = 0x0c
	defCFAReg   = 0x0d
	defCFAOff   = 0x0e
	pcRelative4 = 0x1b // DW_EH_PE_pcrel | DW_EH_PE_sdata4
)

// fde is a function: its code, relative to codeAt, and its instructions.
type fde struct {
	start, size uint32
	program     []byte
	signal      bool // a signal frame
}

// makeELF makes an executable without section headers whose unwind information is
// found by PT_GNU_EH_FRAME. It can be run by no machine.
func makeELF(machine elf.Machine, initial []byte, returnRegister byte, functions []fde) []byte {
	const frameAt = 0x200
	le := binary.LittleEndian
	// The header says only where the rest is.
	frame := []byte{1, pcRelative4, 0xff, 0xff}
	frame = le.AppendUint32(frame, 4) // behind this word
	entry := func(body []byte) {
		for len(body)%8 != 4 {
			body = append(body, 0)
		}
		frame = append(le.AppendUint32(frame, uint32(len(body))), body...)
	}
	cie := map[bool]int{}
	for _, signal := range []bool{false, true} {
		cie[signal] = len(frame)
		augmentation := "zR\x00"
		if signal {
			augmentation = "zRS\x00"
		}
		body := append([]byte{0, 0, 0, 0, 1}, augmentation...)
		code := byte(1)
		if machine == elf.EM_AARCH64 {
			code = 4
		}
		entry(append(append(body, code, 0x78, returnRegister, 1, pcRelative4), initial...))
	}
	for _, f := range functions {
		at := len(frame)
		body := le.AppendUint32(nil, uint32(at+4-cie[f.signal]))
		body = le.AppendUint32(body, codeAt+f.start-uint32(frameAt+at+8))
		body = le.AppendUint32(body, f.size)
		entry(append(append(body, 0), f.program...))
	}
	frame = le.AppendUint32(frame, 0)

	var b bytes.Buffer
	programs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R), Filesz: codeAt, Memsz: codeAt, Align: 4096},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: codeAt, Vaddr: codeAt, Filesz: codeSize, Memsz: codeSize, Align: 4096},
		{Type: uint32(elf.PT_GNU_EH_FRAME), Flags: uint32(elf.PF_R), Off: frameAt, Vaddr: frameAt, Filesz: uint64(len(frame)), Memsz: uint64(len(frame))},
	}
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Phoff: 64,
		Ehsize: 64, Phentsize: 56, Phnum: uint16(len(programs)), Shentsize: 64,
	}
	// A bytes.Buffer takes all that is written.
	_ = binary.Write(&b, le, header)
	_ = binary.Write(&b, le, programs)
	out := make([]byte, codeAt+codeSize)
	copy(out, b.Bytes())
	copy(out[frameAt:], frame)
	return out
}

// mapped is a process that is gone and had a file mapped at loadedAt.
func mapped(t testing.TB, s *symbol.Symbolizer, file []byte) *symbol.Process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return s.Recall(event.ProcessKey{PID: 1 << 30, Start: 1}, []symbol.Mapping{{
		Start: loadedAt, End: loadedAt + codeSize, Offset: codeAt,
		Inode: info.Sys().(*syscall.Stat_t).Ino, Path: path,
	}})
}
