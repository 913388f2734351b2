package framepointer

import (
	"debug/elf"
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"

	"sockleak/internal/symbol"
)

// maxFunction bounds how much of a function is decoded.
const maxFunction = 4096

// calledFrom says whether execution can have come from a call right before
// caller to where at is, with no frame in between: the two locations are those
// of a return address and of the instruction that follows the system call.
// Locations in memory without a file can't be checked and are refused.
func calledFrom(s *symbol.Symbolizer, at, caller symbol.Location) bool {
	from, err := s.Code(caller)
	if err != nil {
		return false
	}
	to, err := s.Code(at)
	if err != nil {
		return false
	}
	switch elf.Machine(from.Machine()) {
	case elf.EM_X86_64, elf.EM_386:
		return calledFromX86(from, to, at.Module() == caller.Module())
	case elf.EM_AARCH64:
		return calledFromARM64(from, to)
	}
	return false
}

func calledFromX86(from, to symbol.Code, same bool) bool {
	target, direct, ok := callX86(from)
	if !ok {
		return false
	}
	start, known := to.Function(to.Address - 1)
	if known {
		if frameless, sure := framelessX86(to, start); sure {
			return frameless
		}
	}
	// The function's code doesn't tell. Then where the call goes must.
	if !direct || !known {
		return true
	}
	return same && target == start || isStub(from, target)
}

// callX86 says whether a call ends at the code's address, and where it goes
// when that is in the instruction.
func callX86(c symbol.Code) (target uint64, direct, ok bool) {
	var b [7]byte
	n := 0
	for _, size := range []int{7, 6, 5, 3, 2} {
		if c.Address >= uint64(size) && c.Read(c.Address-uint64(size), b[7-size:]) {
			n = size
			break
		}
	}
	mode := 64
	if elf.Machine(c.Machine()) == elf.EM_386 {
		mode = 32
	}
	for _, size := range []int{5, 6, 7, 3, 2, 4} { // the direct call first
		if size > n {
			continue
		}
		inst, err := x86asm.Decode(b[7-size:], mode)
		if err != nil || inst.Len != size || inst.Op != x86asm.CALL {
			continue
		}
		if rel, isRel := inst.Args[0].(x86asm.Rel); isRel {
			return c.Address + uint64(int64(rel)), true, true
		}
		return 0, false, true
	}
	return 0, false, false
}

// framelessX86 follows the function from its start to the code's address and
// says whether nothing was put on the stack there. It isn't sure when it meets
// what it can't decode or follow.
func framelessX86(c symbol.Code, start uint64) (frameless, sure bool) {
	size := c.Address - start
	if c.Address <= start || size > maxFunction {
		return false, false
	}
	code := make([]byte, size)
	if !c.Read(start, code) {
		return false, false
	}
	mode := 64
	if elf.Machine(c.Machine()) == elf.EM_386 {
		mode = 32
	}
	for len(code) > 0 {
		inst, err := x86asm.Decode(code, mode)
		if err != nil {
			// The instructions of control-flow enforcement are not known to
			// the decoder, and do nothing.
			if n := endbr(code); n > 0 {
				code = code[n:]
				continue
			}
			return false, false
		}
		if movesStack(inst) {
			return false, true
		}
		code = code[inst.Len:]
	}
	return true, true
}

func endbr(code []byte) int {
	if len(code) >= 4 && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && (code[3] == 0xfa || code[3] == 0xfb) {
		return 4
	}
	return 0
}

// movesStack says whether an instruction changes the stack pointer. One that
// gives back what an earlier one took can't come first.
func movesStack(inst x86asm.Inst) bool {
	switch inst.Op {
	case x86asm.PUSH, x86asm.PUSHF, x86asm.PUSHFD, x86asm.PUSHFQ, x86asm.ENTER:
		return true
	case x86asm.SUB, x86asm.ADD, x86asm.LEA, x86asm.AND, x86asm.MOV:
		return inst.Args[0] == x86asm.RSP || inst.Args[0] == x86asm.ESP
	}
	return false
}

// isStub says whether what is called only jumps to another library: an entry of
// the procedure linkage table, which linkers also make without such a section.
func isStub(c symbol.Code, target uint64) bool {
	switch c.Section(target) {
	case ".plt", ".plt.sec", ".plt.got":
		return true
	}
	var code [16]byte
	if !c.Read(target, code[:]) {
		return false
	}
	inst, err := x86asm.Decode(code[endbr(code[:]):], 64)
	return err == nil && inst.Op == x86asm.JMP
}

// calledFromARM64 looks for a call before the return address, and for none
// between the function's start and the system call: the link register would
// hold where that one returned to.
func calledFromARM64(from, to symbol.Code) bool {
	var b [4]byte
	if from.Address < 4 || !from.Read(from.Address-4, b[:]) || !isCallARM64(binary.LittleEndian.Uint32(b[:])) {
		return false
	}
	start, known := to.Function(to.Address - 4)
	if !known || to.Address-start > maxFunction {
		return true
	}
	for at := start; at < to.Address; at += 4 {
		if !to.Read(at, b[:]) || isCallARM64(binary.LittleEndian.Uint32(b[:])) {
			return false
		}
	}
	return true
}

// isCallARM64 knows BL, BLR and the variants of BLR with pointer authentication.
func isCallARM64(inst uint32) bool {
	return inst>>26 == 0b100101 || inst&0xfeff_f000 == 0xd63f_0000
}
