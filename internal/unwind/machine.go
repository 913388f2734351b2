package unwind

import (
	"bytes"
	"debug/elf"

	"go.opentelemetry.io/ebpf-profiler/nativeunwind/stackdeltatypes"
	"go.opentelemetry.io/ebpf-profiler/support"

	"sockleak/internal/symbol"
)

// stepAMD64 applies a rule of amd64. The return address is the word below the
// canonical frame address (CFA), or in a register.
func (w *walker) stepAMD64(r rule) (ending, bool) {
	if r.Flags&support.UnwindFlagRegisterRA != 0 {
		return endNoTable, false // of vfork: makes no socket
	}
	base := uint64(0)
	switch r.BaseReg {
	case support.UnwindRegSp:
		base = w.sp
	case support.UnwindRegFp:
		fp, ok := w.framePointer()
		if !ok {
			return w.lost(), false
		}
		base = fp
	default:
		return endNoTable, false // a register that is only good in the innermost frame
	}
	cfa := base + uint64(int64(r.Param))
	if r.Flags&support.UnwindFlagDerefCfa != 0 {
		before, after := stackdeltatypes.UnpackDerefParam(r.Param)
		v, ok := w.read(base + uint64(int64(before)))
		if !ok {
			return endShort, false
		}
		cfa = v + uint64(int64(after))
	}
	switch r.AuxBaseReg {
	case support.UnwindRegCfa:
		w.fp = place{inMemory, cfa + uint64(int64(r.AuxParam))}
	case support.UnwindRegFp:
		fp, ok := w.framePointer()
		if !ok {
			return w.lost(), false
		}
		w.fp = place{inMemory, fp + uint64(int64(r.AuxParam))}
	default:
		if r.BaseReg == support.UnwindRegFp {
			w.fp = place{kind: isLost}
		}
	}
	return endShort, w.returnTo(cfa, cfa-8)
}

// stepARM64 applies a rule of arm64: the return address is in the link register or
// on the stack, there often with the frame pointer below it.
func (w *walker) stepARM64(r rule) (ending, bool) {
	cfa := uint64(0)
	switch r.BaseReg {
	case support.UnwindRegSp:
		cfa = w.sp + uint64(int64(r.Param))
	case support.UnwindRegFp:
		fp, ok := w.framePointer()
		if !ok {
			return w.lost(), false
		}
		cfa = fp + uint64(int64(r.Param))
	default:
		return endNoTable, false
	}
	switch r.AuxBaseReg {
	case support.UnwindRegLr:
		lr, ok := w.value(&w.lr, w.copy.LR, stepLR)
		if !ok {
			return endNoTable, false // good in the innermost frame alone
		}
		w.pc, w.sp, w.lr = w.code(lr), cfa, place{kind: isLost}
		return endShort, true
	case support.UnwindRegCfa:
		at := cfa + uint64(int64(r.AuxParam))
		if r.Flags&support.UnwindFlagFrame != 0 {
			w.fp = place{inMemory, at - 8}
		}
		return endShort, w.returnTo(cfa, at)
	case support.UnwindRegSp: // of Go until 1.20
		return endShort, w.returnTo(cfa, w.sp+uint64(int64(r.AuxParam)))
	}
	return endNoTable, false
}

// Where struct rt_sigframe has what the interrupted code goes on with: on amd64 in
// uc.uc_mcontext (arch/x86/include/asm/sigframe.h), on arm64 likewise
// (arch/arm64/kernel/signal.c; info 128 bytes, ucontext to regs 184).
const (
	sigAMD64 = 40
	sigARM64 = 312
)

// fromSignal goes on to the code that a signal interrupted.
func (w *walker) fromSignal() bool {
	at, fp, sp, pc, lr := w.sp+sigAMD64, uint64(10), uint64(15), uint64(16), uint64(0)
	if w.tables.machine == elf.EM_AARCH64 {
		at, fp, sp, pc, lr = w.sp+sigARM64, 29, 31, 32, 30
	}
	newSP, ok1 := w.read(at + 8*sp)
	newPC, ok2 := w.read(at + 8*pc)
	if !ok1 || !ok2 {
		return false
	}
	w.fp, w.lr = place{inMemory, at + 8*fp}, place{kind: isLost}
	if lr != 0 {
		w.lr = place{inMemory, at + 8*lr}
	}
	w.pc, w.sp = w.code(newPC), newSP
	return true
}

// sigreturn is the instructions that return from a signal handler. They are in no
// table where libc has none for them, as musl.
func sigreturn(m elf.Machine) []byte {
	if m == elf.EM_AARCH64 {
		return []byte{0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4} // mov x8, #139; svc #0
	}
	return []byte{0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05} // mov $15, %rax; syscall
}

// returnsFromSignal says whether that is what the code at a location does.
func (t *tables) returnsFromSignal(at symbol.Location) bool {
	code, err := t.symbols.Code(at)
	if err != nil {
		return false
	}
	want := sigreturn(t.machine)
	got := make([]byte, len(want))
	return code.Read(code.Address, got) && bytes.Equal(got, want)
}
