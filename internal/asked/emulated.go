package asked

import (
	"debug/elf"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// On amd64 the kernel carries out some instructions itself where a uprobe stands
// on them (arch/x86/kernel/uprobes.c: pushes, jumps): the thread traps once. All
// others it has the thread step through, which is a second trap, and in a virtual
// machine one that leaves it: ten times the time. The functions of libuv come to
// such an instruction soon, and until then the arguments and the stack are what
// they were at the entry.

// maxSkipped bounds how far into a function a uprobe goes, in bytes.
const maxSkipped = 32

// emulated returns how far behind the entry of a function the first instruction
// is that needs no step, zero if none is near. code is how the function begins.
func emulated(machine elf.Machine, code []byte) uint64 {
	if machine != elf.EM_X86_64 {
		return 0
	}
	for at := 0; at < min(len(code), maxSkipped); {
		rest := code[at:]
		if slices.Equal(rest[:min(4, len(rest))], []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
			at += 4 // endbr64, which the decoder doesn't know
			continue
		}
		inst, err := x86asm.Decode(rest, 64)
		switch {
		case err != nil:
			return 0
		case needsNoStep(inst):
			return uint64(at)
		case !harmless(inst):
			return 0
		}
		at += inst.Len
	}
	return 0
}

func needsNoStep(inst x86asm.Inst) bool {
	if inst.Prefix[0] != 0 && inst.Prefix[0]&0xf0 != x86asm.PrefixREX {
		return false
	}
	if inst.Op == x86asm.PUSH {
		_, register := inst.Args[0].(x86asm.Reg)
		return register && inst.Len <= 2
	}
	_, relative := inst.Args[0].(x86asm.Rel)
	return relative && inst.Op != x86asm.CALL && inst.Op != x86asm.XBEGIN &&
		inst.Op != x86asm.LOOP && inst.Op != x86asm.LOOPE && inst.Op != x86asm.LOOPNE &&
		inst.Op != x86asm.JCXZ && inst.Op != x86asm.JECXZ && inst.Op != x86asm.JRCXZ
}

// harmless says whether an instruction leaves the stack and the first two
// arguments alone, and goes on to the next.
func harmless(inst x86asm.Inst) bool {
	switch inst.Op {
	case x86asm.CMP, x86asm.TEST:
		return true
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.AND, x86asm.OR, x86asm.SHR, x86asm.SHL:
		to, register := inst.Args[0].(x86asm.Reg)
		return register && !slices.Contains([]x86asm.Reg{
			x86asm.RDI, x86asm.EDI, x86asm.DI, x86asm.DIB, x86asm.RSI, x86asm.ESI, x86asm.SI, x86asm.SIB,
			x86asm.RSP, x86asm.ESP, x86asm.SP, x86asm.SPB,
		}, to)
	}
	return false
}
