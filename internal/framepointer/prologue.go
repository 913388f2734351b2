package framepointer

import (
	"debug/elf"

	"golang.org/x/arch/x86/x86asm"

	"sockleak/internal/symbol"
)

// Pushed is what a function has put on the stack.
type Pushed struct {
	Bytes uint64 // the return address is so far above the stack pointer
	// FP is where the caller's frame pointer was put, from the stack pointer, if
	// it was.
	FP    uint64
	HasFP bool
}

// PushedAt follows the instructions of the function around a location, up to there,
// for code that has no unwind information (musl's, for one). It takes them one
// after the other, whatever jumps there are, so it may be wrong: whoever uses it
// looks whether what it leads to is a return address. It is false where it can't
// tell, and on machines other than amd64.
func PushedAt(s *symbol.Symbolizer, at symbol.Location) (Pushed, bool) {
	c, err := s.Code(at)
	if err != nil || elf.Machine(c.Machine()) != elf.EM_X86_64 {
		return Pushed{}, false
	}
	start, known := c.Function(c.Address - 1)
	if !known || c.Address <= start || c.Address-start > maxFunction {
		return Pushed{}, false
	}
	code := make([]byte, c.Address-start)
	if !c.Read(start, code) {
		return Pushed{}, false
	}
	return pushedX86(code)
}

// IsReturnAddress says whether a call ends at a location.
func IsReturnAddress(s *symbol.Symbolizer, at symbol.Location) bool {
	c, err := s.Code(at)
	if err != nil {
		return false
	}
	_, _, ok := callX86(c)
	return ok
}

func pushedX86(code []byte) (Pushed, bool) {
	// body is the depth behind the prologue, which is that of the code behind a
	// return in the middle.
	var depth, body, fpAt int64
	for len(code) > 0 {
		if n := endbr(code); n > 0 {
			code = code[n:]
			continue
		}
		inst, err := x86asm.Decode(code, 64)
		if err != nil {
			return Pushed{}, false
		}
		change, known := stackChange(inst)
		if !known {
			return Pushed{}, false
		}
		depth += change
		if change > 0 {
			body = depth
		}
		switch {
		case inst.Op == x86asm.PUSH && inst.Args[0] == x86asm.RBP:
			fpAt = depth
		case inst.Op == x86asm.RET:
			depth = body
		}
		code = code[inst.Len:]
	}
	if depth < 0 {
		return Pushed{}, false
	}
	p := Pushed{Bytes: uint64(depth)}
	if fpAt > 0 && fpAt <= depth {
		p.FP, p.HasFP = uint64(depth-fpAt), true
	}
	return p, true
}

// stackChange is by how many bytes an instruction makes the stack grow; false if
// that isn't in the instruction.
func stackChange(inst x86asm.Inst) (int64, bool) {
	switch inst.Op {
	case x86asm.PUSH, x86asm.PUSHFQ:
		return 8, true
	case x86asm.POP, x86asm.POPFQ:
		return -8, true
	case x86asm.SUB, x86asm.ADD:
		if inst.Args[0] != x86asm.RSP {
			return 0, true
		}
		n, ok := inst.Args[1].(x86asm.Imm)
		if inst.Op == x86asm.ADD {
			n = -n
		}
		return int64(n), ok
	case x86asm.LEA:
		if inst.Args[0] != x86asm.RSP {
			return 0, true
		}
		m, ok := inst.Args[1].(x86asm.Mem)
		return -m.Disp, ok && m.Base == x86asm.RSP && m.Index == 0
	case x86asm.LEAVE, x86asm.ENTER:
		return 0, false
	case x86asm.AND, x86asm.MOV, x86asm.XCHG:
		return 0, inst.Args[0] != x86asm.RSP
	}
	return 0, true
}
