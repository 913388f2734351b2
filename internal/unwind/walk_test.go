package unwind

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"go.opentelemetry.io/ebpf-profiler/support"

	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// amd64 is a file with the usual kinds of functions.
func amd64() []byte {
	const rsp, rbp, rip = 7, 6, 16
	initial := []byte{defCFA, rsp, 8, offsetOf | rip, 1}
	return makeELF(elf.EM_X86_64, initial, rip, []fde{
		{start: 0x00, size: 0x20}, // leaf
		{start: 0x20, size: 0x20, program: []byte{advance | 4, defCFAOff, 32}},                                                 // sub $24, %rsp
		{start: 0x40, size: 0x20, program: []byte{advance | 1, defCFAOff, 16, offsetOf | rbp, 2, advance | 3, defCFAReg, rbp}}, // push %rbp; mov %rsp, %rbp
		{start: 0x60, size: 0x20, program: []byte{undefined, rip}},                                                             // _start
		{start: 0x80, size: 0x20, signal: true},                                                                                // __restore_rt
		{start: 0xa0, size: 0x20, program: []byte{advance | 1, defCFAOff, 16, offsetOf | rbp, 2}},                              // push %rbp
	})
}

func arm64() []byte {
	const sp, fp, lr = 31, 29, 30
	return makeELF(elf.EM_AARCH64, []byte{defCFA, sp, 0}, lr, []fde{
		{start: 0x00, size: 0x20}, // leaf
		{start: 0x20, size: 0x20, program: []byte{advance | 1, defCFAOff, 32, offsetOf | fp, 4, offsetOf | lr, 3}},                              // stp x29, x30, [sp, #-32]!
		{start: 0x40, size: 0x20, program: []byte{advance | 1, defCFAOff, 16, offsetOf | fp, 2, offsetOf | lr, 1, advance | 1, defCFA, fp, 16}}, // mov x29, sp
		{start: 0x60, size: 0x20, program: []byte{undefined, lr}},
		{start: 0x80, size: 0x20, signal: true},
	})
}

const stackAt = 0x7fff0000

// words is a stack from stackAt on.
func words(w ...uint64) []byte {
	var b []byte
	for _, v := range w {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// sigframe is a struct rt_sigframe with these registers, by their word.
func sigframe(at int, registers map[int]uint64) []uint64 {
	w := make([]uint64, at+33)
	for i, v := range registers {
		w[at+i] = v
	}
	return w
}

// outcome is what is compared of a walk: frames by their offset from loadedAt,
// those that are no return addresses negative.
type outcome struct {
	Frames  []int64
	End     ending
	Guessed bool
	Cut     bool
	Reads   []uint32 // the steps
}

// Go until 1.20 has the return address of arm64 where the stack pointer points to.
func TestGoOnARM64(t *testing.T) {
	w := walker{tables: &tables{machine: elf.EM_AARCH64}, copy: &stack.Copy{Base: stackAt, Bytes: words(0x1234, 0x5678)}, sp: stackAt}
	r := rule{BaseReg: support.UnwindRegSp, Param: 48, AuxBaseReg: support.UnwindRegSp}
	if _, ok := w.stepARM64(r); !ok || w.pc != 0x1234 || w.sp != stackAt+48 {
		t.Errorf("%v: goes on at %#x with the stack at %#x", ok, w.pc, w.sp)
	}
}

func TestWalk(t *testing.T) {
	code := func(at uint64) uint64 { return loadedAt + at }
	whole := make([]uint64, 1024)
	for _, test := range []struct {
		name    string
		file    []byte
		machine elf.Machine
		copy    stack.Copy
		want    outcome
	}{
		{"amd64", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x10), SP: stackAt, FP: stackAt + 56,
			Bytes: words(code(0x30), 1, 2, 3, code(0x50), 5, 6, 0xbad, code(0x70)),
		}, outcome{[]int64{0x10, 0x30, 0x50, 0x70}, endRoot, false, false, []uint32{0, 32, stepFP, 64}}},
		{"amd64 saved frame pointer", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0xb0), SP: stackAt, FP: 7,
			Bytes: words(stackAt+32, code(0x50), 2, 3, 0xbad, code(0x70)),
		}, outcome{[]int64{0xb0, 0x50, 0x70}, endRoot, false, false, []uint32{8, 0, 40}}},
		// The start of a function follows a call that never returns.
		{"amd64 call at the end of a function", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x10), SP: stackAt, Bytes: words(code(0x40), 1, 2, 3, code(0x70)),
		}, outcome{[]int64{0x10, 0x40, 0x70}, endRoot, false, false, []uint32{0, 32}}},
		{"amd64 signal", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x10), SP: stackAt,
			// The handler returns to the very start of the code at 0x80; the
			// interrupted one had just entered the leaf.
			Bytes: words(append([]uint64{code(0x80)}, append(sigframe(5, map[int]uint64{
				10: 9, 15: stackAt + 8*39, 16: code(0x00),
			}), code(0x70))...)...),
		}, outcome{[]int64{0x10, -0x80, -0x00, 0x70}, endRoot, false, false, []uint32{0, 8 + 8*20, 8 + 8*21, 8 * 39}}},
		{"amd64 short", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x10), SP: stackAt, Bytes: words(append([]uint64{code(0x30)}, whole[:2]...)...), Cut: true,
		}, outcome{[]int64{0x10, 0x30}, endShort, false, true, []uint32{0}}},
		{"amd64 deep", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x50), SP: stackAt, FP: stackAt + 8192, Bytes: words(whole...),
		}, outcome{[]int64{0x50}, endShort, false, false, []uint32{stepFP}}},
		{"amd64 no code", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x10), SP: stackAt, Bytes: words(0x1234),
		}, outcome{[]int64{0x10}, endUnmapped, false, false, []uint32{0}}},
		{"amd64 without unwind information", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x200), SP: stackAt, FP: stackAt + 8, Bytes: words(1, 2, code(0x70)),
		}, outcome{[]int64{0x200, 0x70}, endRoot, true, false, []uint32{stepFP, 16}}},
		{"amd64 nothing to go by", amd64(), elf.EM_X86_64, stack.Copy{
			PC: code(0x200), SP: stackAt, FP: 3, Bytes: words(1, 2, 3),
		}, outcome{[]int64{0x200}, endNoTable, false, false, []uint32{stepFP}}},
		{"arm64", arm64(), elf.EM_AARCH64, stack.Copy{
			PC: code(0x10), SP: stackAt, FP: 1, LR: code(0x30),
			Bytes: words(stackAt+32, code(0x50)|0x5a<<48, 2, 3, 9, code(0x70)),
		}, outcome{[]int64{0x10, 0x30, 0x50, 0x70}, endRoot, false, false, []uint32{stepLR, 8, 0, 40}}},
		{"arm64 signal", arm64(), elf.EM_AARCH64, stack.Copy{
			PC: code(0x10), SP: stackAt, LR: code(0x80),
			Bytes: words(sigframe(39, map[int]uint64{29: 1, 30: code(0x70), 31: stackAt, 32: code(0x10)})...),
		}, outcome{[]int64{0x10, -0x80, -0x10, 0x70}, endRoot, false, false,
			[]uint32{stepLR, 312 + 8*31, 312 + 8*32, 312 + 8*30}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := symbol.New(symbol.Options{})
			defer s.Close()
			test.copy.Base, test.copy.Seed = stackAt, 99
			w := walker{tables: newTables(s), maps: mapped(t, s, test.file), copy: &test.copy}
			w.tables.machine = test.machine
			w.run()
			got := outcome{End: w.walk.end, Guessed: w.walk.guessed, Cut: w.walk.cut}
			for _, f := range w.walk.frames {
				at := int64(f.at.Offset()) - codeAt
				if !f.returning {
					at = -at
				}
				got.Frames = append(got.Frames, at)
			}
			for _, step := range w.walk.steps {
				got.Reads = append(got.Reads, step.next)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// Reading a damaged file ends, with or without what it has: of one whose headers
// promise more than there is, the library reads the end for ever.
func TestDamagedTable(t *testing.T) {
	huge := amd64()
	const filesz = 64 + 2*56 + 32 // of PT_GNU_EH_FRAME
	binary.LittleEndian.PutUint64(huge[filesz:], 1<<40)
	binary.LittleEndian.PutUint64(huge[64+32:], 1<<40) // of the segment it is in
	for end := 64; end < 0x400; end += 8 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = readTable(bytes.NewReader(huge[:end])) // an error is as good
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("cut after %d bytes: still reading", end)
		}
	}
}

// FuzzTable: no file makes the reader of unwind information panic, hang or take
// memory without limit, and looking things up in what it read is safe.
func FuzzTable(f *testing.F) {
	f.Add(amd64())
	f.Add(arm64())
	f.Fuzz(func(t *testing.T, file []byte) {
		table, err := readTable(bytes.NewReader(file))
		if err != nil {
			return
		}
		for i := 1; i < len(table.start); i++ {
			if table.start[i-1] >= table.start[i] {
				t.Fatalf("entry %d: %#x after %#x", i, table.start[i], table.start[i-1])
			}
		}
		for offset := range uint64(len(file)) {
			table.find(offset)
		}
	})
}

// FuzzWalk: no stack makes a walk panic or go on for ever.
func FuzzWalk(f *testing.F) {
	f.Add(uint64(0x10), uint64(8), words(loadedAt+0x30, 1, 2, 3, loadedAt+0x50, 5, 6, 7, loadedAt+0x70))
	s := symbol.New(symbol.Options{})
	maps := mapped(f, s, amd64())
	tables := newTables(s)
	tables.machine = elf.EM_X86_64
	f.Fuzz(func(t *testing.T, pc, fp uint64, b []byte) {
		w := walker{tables: tables, maps: maps, copy: &stack.Copy{
			PC: loadedAt + pc%codeSize, SP: stackAt, FP: stackAt + fp, Base: stackAt - 16, Bytes: b,
		}}
		w.run()
		if len(w.walk.frames) > maxFrames || len(w.walk.steps) > 4*maxFrames {
			t.Fatalf("%d frames, %d steps", len(w.walk.frames), len(w.walk.steps))
		}
	})
}
