package unwind

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"go.opentelemetry.io/ebpf-profiler/support"

	"sockleak/internal/framepointer"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// What the kernel side does at a step beside reading a word, enum step of
// bpf/contract.h.
const (
	stepEnd = probe.StepEnd
	stepFP  = probe.StepFP
	stepLR  = probe.StepLR
)

const (
	// maxFrames bounds a walk. The smallest frame is 16 bytes, so that a
	// copy has no more.
	maxFrames = 512
	// maxSteps is MAX_STEPS of bpf/contract.h.
	maxSteps = probe.MaxSteps
	// copyBytes is COPY_BYTES of bpf/contract.h.
	copyBytes = probe.CopyBytes
)

// ending is why a walk ended.
type ending uint8

const (
	endRoot     ending = iota // at the start of the thread
	endShort                  // the stack goes on beyond the copy
	endUnmapped               // at an address that is no code
	endNoTable                // at code that can't be unwound
	endFrames                 // at maxFrames
)

// frame is one frame of a walk.
type frame struct {
	at symbol.Location
	// returning: at is a return address, and the call is before it.
	returning bool
}

// step is one thing that a walk depended on: the hash of all before it, and what
// was read, as the kernel side has it.
type step struct {
	hash uint64
	next uint32
}

// walk is a walked stack.
type walk struct {
	frames []frame
	end    ending
	// guessed: the callers of code without unwind information were found by
	// its instructions or by frame pointers.
	guessed bool
	cut     bool // it ended where memory could not be read, and may go further another time
	steps   []step
	hash    uint64 // over all that was read
}

var errNoTable = errors.New("no unwind information")

// place is a value that is only read when it is needed: the fewer words a walk
// depends on, the more often it is known again.
type place struct {
	kind placeKind
	v    uint64 // the value, or its address
}

type placeKind uint8

const (
	inRegister placeKind = iota // as it was in the register when the copy was taken
	inMemory
	isKnown
	isLost
)

// walker walks one stack.
type walker struct {
	tables *tables
	maps   *symbol.Process
	copy   *stack.Copy
	pc, sp uint64
	fp, lr place
	walk   walk
}

// mix is that of bpf/stack.h.
func mix(hash, word uint64) uint64 {
	hash = (hash ^ word) * 0x9fb21c651e98df25
	return hash ^ hash>>28
}

func (w *walker) note(next uint32, word uint64) {
	w.walk.steps = append(w.walk.steps, step{w.walk.hash, next})
	w.walk.hash = mix(w.walk.hash, word)
}

// read reads a word of the stack.
func (w *walker) read(addr uint64) (uint64, bool) {
	off := addr - w.copy.Base
	if addr < w.copy.Base || off+8 > uint64(len(w.copy.Bytes)) || off+8 < off {
		w.walk.cut = w.copy.Cut && off < copyBytes
		return 0, false
	}
	word := binary.LittleEndian.Uint64(w.copy.Bytes[off:])
	w.note(uint32(off), word)
	return word, true
}

// value returns what is at a place.
func (w *walker) value(p *place, register uint64, next uint32) (uint64, bool) {
	switch p.kind {
	case inRegister:
		w.note(next, register)
		*p = place{isKnown, register}
	case inMemory:
		v, ok := w.read(p.v)
		if !ok {
			return 0, false
		}
		*p = place{isKnown, v}
	case isLost:
		return 0, false
	}
	return p.v, true
}

func (w *walker) framePointer() (uint64, bool) { return w.value(&w.fp, w.copy.FP, stepFP) }

// lost is why the frame pointer can't be had.
func (w *walker) lost() ending {
	if w.fp.kind == isLost {
		return endNoTable
	}
	return endShort
}

// run walks from the innermost frame to the start of the thread, or as far as it
// gets.
func (w *walker) run() {
	w.pc, w.sp = w.copy.PC, w.copy.SP
	w.walk.hash = w.copy.Seed
	// The first is no return address, but it follows the system call.
	returning := true
	for len(w.walk.frames) < maxFrames {
		at, ok := w.maps.Locate(w.pc)
		if !ok {
			w.walk.end = endUnmapped
			return
		}
		r, trampoline, err := w.rule(at, returning)
		w.walk.frames = append(w.walk.frames, frame{at, returning && !trampoline})
		if err != nil && !w.byCode(at) && !w.byFramePointer() {
			w.walk.end = endNoTable
			return
		}
		if err == nil {
			var end ending
			if end, ok = w.step(r); !ok {
				w.walk.end = end
				return
			}
		}
		if w.pc == 0 { // what some put where nothing called
			w.walk.end = endRoot
			return
		}
		returning = !trampoline
	}
	w.walk.end = endFrames
}

// rule returns how to unwind the frame at a location. The code that returns from
// a signal handler was never called: the handler's return address is its start,
// and what is before it belongs to something else.
func (w *walker) rule(at symbol.Location, returning bool) (r rule, trampoline bool, err error) {
	r, err = w.tables.rule(at)
	if returning && !isSignal(r) {
		r, err = w.tables.rule(at.Before())
	}
	if err != nil && w.tables.returnsFromSignal(at) {
		return signalRule(), true, nil
	}
	return r, isSignal(r), err
}

func signalRule() rule {
	return rule{Flags: support.UnwindFlagCommand, Param: support.UnwindCommandSignal}
}

func isSignal(r rule) bool { return r == signalRule() }

// step goes on to the caller's frame. It is false when there is none, or it can't
// be found, and says why.
func (w *walker) step(r rule) (ending, bool) {
	if r.Flags&support.UnwindFlagCommand != 0 {
		switch r.Param {
		case support.UnwindCommandStop:
			return endRoot, false
		case support.UnwindCommandSignal:
			return endShort, w.fromSignal()
		case support.UnwindCommandFramePointer:
			return w.lost(), w.frameRecord()
		case support.UnwindCommandPLT:
			// The fixed expression of linkers for a procedure linkage table.
			cfa := w.sp + 8
			if w.pc&15 >= 11 {
				cfa += 8
			}
			return endShort, w.returnTo(cfa, cfa-8)
		default:
			return endNoTable, false
		}
	}
	if w.tables.machine == elf.EM_AARCH64 {
		return w.stepARM64(r)
	}
	return w.stepAMD64(r)
}

// returnTo leaves a frame that ends at cfa, and whose return address is at addr.
func (w *walker) returnTo(cfa, addr uint64) bool {
	pc, ok := w.read(addr)
	if !ok {
		return false
	}
	w.pc, w.sp, w.lr = w.code(pc), cfa, place{kind: isLost}
	return true
}

// code is an address of code without what arm64's pointer authentication puts in
// the bits that no address has.
func (w *walker) code(addr uint64) uint64 {
	if w.tables.machine == elf.EM_AARCH64 {
		return addr & (1<<48 - 1)
	}
	return addr
}

// frameRecord leaves a frame by its frame pointer, where the caller's frame
// pointer and the return address are on both machines.
func (w *walker) frameRecord() bool {
	fp, ok := w.framePointer()
	// Go on arm64 keeps the record a word below its stack pointer.
	if !ok || fp+8 < w.sp {
		return false
	}
	w.fp = place{inMemory, fp}
	return w.returnTo(fp+16, fp+8)
}

// byCode leaves a frame of a file's code without unwind information by what its
// instructions put on the stack, if that leads to a return address.
func (w *walker) byCode(at symbol.Location) bool {
	p, ok := framepointer.PushedAt(w.tables.symbols, at)
	if !ok {
		return false
	}
	slot := w.sp + p.Bytes
	pc, ok := w.read(slot)
	if !ok {
		return false
	}
	caller, ok := w.maps.Locate(pc)
	if !ok || !framepointer.IsReturnAddress(w.tables.symbols, caller) {
		return false
	}
	w.walk.guessed = true
	if p.HasFP {
		w.fp = place{inMemory, w.sp + p.FP}
	}
	w.pc, w.sp, w.lr = pc, slot+8, place{kind: isLost}
	return true
}

// byFramePointer leaves a frame of code without unwind information, if it leads to
// code: generated code of V8 keeps frame pointers, for instance.
func (w *walker) byFramePointer() bool {
	if !w.frameRecord() {
		return false
	}
	w.walk.guessed = true
	_, ok := w.maps.Locate(w.pc)
	return ok || w.pc == 0
}
