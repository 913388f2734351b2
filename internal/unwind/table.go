package unwind

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/elfunwindinfo"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/stackdeltatypes"

	"sockleak/internal/elfguard"
)

const (
	// maxEntries bounds the table of one file: node has 285,000.
	maxEntries = 1 << 23
	// entryCode is how long the code at a program's entry point is taken to be:
	// that of musl has 22 bytes.
	entryCode = 32
)

// rule is how to get from a function's frame to its caller's.
type rule = stackdeltatypes.UnwindInfo

// table is how to unwind the code of one ELF file, whatever it was read from:
// .eh_frame, .debug_frame, Go's pclntab.
type table struct {
	machine elf.Machine
	loads   []elf.ProgHeader // executable
	entry   uint64
	base    uint64
	// From address base+start[i] up to the next, the code has rules[which[i]].
	start []uint32
	which []uint16
	rules []rule
}

// none is what a table has for addresses that nothing is known of.
const none = math.MaxUint16

// readTable reads the unwind information of an ELF file. The file belongs to the
// program that is looked at, so nothing in it is trusted.
func readTable(r io.ReaderAt) (t *table, err error) {
	err = elfguard.Do("unwind information", func() error {
		t, err = extract(elfguard.NewReader(r, elfguard.MaxRead))
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func extract(r io.ReaderAt) (*table, error) {
	f, err := pfelf.NewFile(r, 0, false)
	if err != nil {
		return nil, fmt.Errorf("read ELF headers: %w", err)
	}
	if f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("unwind code of %s: %w", f.Machine, errors.ErrUnsupported)
	}
	t := &table{machine: f.Machine, entry: f.Entry}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			t.loads = append(t.loads, p.ProgHeader)
		}
	}
	ref := pfelf.NewReferenceWithOpenFunc("", alone{}, func() (*pfelf.File, error) { return f, nil })
	intervals, err := elfunwindinfo.ExtractELF(ref)
	if err != nil {
		return nil, fmt.Errorf("read unwind information: %w", err)
	}
	return t, t.fill(intervals)
}

// alone implements pfelf.ELFOpener: what other files there may be with debug
// information is not looked for.
type alone struct{}

func (alone) OpenELF(string) (*pfelf.File, error) { return nil, errors.ErrUnsupported }

// errTooLarge is for tables with more than there can be room for.
var errTooLarge = errors.New("too much unwind information")

// fill takes over the library's blocks, sorted by address, in a third of the
// memory. Where they overlap, the later one counts, as in the library's Find.
func (t *table) fill(in *stackdeltatypes.IntervalData) error {
	if in.NumDeltas > maxEntries || len(in.Blocks) > maxEntries {
		return errTooLarge
	}
	if len(in.Blocks) == 0 {
		return nil
	}
	t.base = in.Blocks[0].Start
	known := map[rule]uint16{}
	end := t.base
	for i, b := range in.Blocks {
		limit := b.End
		if i+1 < len(in.Blocks) {
			limit = min(limit, in.Blocks[i+1].Start)
		}
		if b.Start < end || limit <= b.Start || limit-t.base > math.MaxUint32 {
			continue
		}
		if b.Start > end {
			t.add(end, none)
		}
		for _, d := range b.Deltas {
			n, ok := known[d.Info]
			if !ok {
				if len(t.rules) == none {
					return errTooLarge
				}
				n = uint16(len(t.rules))
				known[d.Info], t.rules = n, append(t.rules, d.Info)
			}
			if at := b.Start + uint64(d.Offset); at < limit {
				t.add(at, n)
			}
		}
		end = limit
	}
	t.add(end, none)
	return nil
}

// add appends an entry; a later one for the same address replaces it.
func (t *table) add(addr uint64, which uint16) {
	at := uint32(addr - t.base)
	n := len(t.start)
	switch {
	case n > 0 && t.start[n-1] == at:
		t.which[n-1] = which
	case n == 0 || t.start[n-1] < at && t.which[n-1] != which:
		t.start, t.which = append(t.start, at), append(t.which, which)
	}
}

// find returns the rule for an offset in the file.
func (t *table) find(offset uint64) (rule, bool) {
	addr, ok := t.address(offset)
	if !ok {
		return rule{}, false
	}
	if addr >= t.base && addr-t.base <= math.MaxUint32 {
		at := uint32(addr - t.base)
		i := sort.Search(len(t.start), func(i int) bool { return t.start[i] > at }) - 1
		if i >= 0 && t.which[i] != none {
			return t.rules[t.which[i]], true
		}
	}
	// What the kernel starts is called by nobody, and is often in no table.
	return stackdeltatypes.UnwindInfoStop, t.entry != 0 && addr >= t.entry && addr-t.entry < entryCode
}

// address turns an offset in the file into a virtual address.
func (t *table) address(offset uint64) (uint64, bool) {
	for _, p := range t.loads {
		if offset >= p.Off && offset-p.Off < p.Filesz {
			return offset - p.Off + p.Vaddr, true
		}
	}
	return 0, false
}

// size is about how much memory the table takes, in bytes.
func (t *table) size() int { return 4*cap(t.start) + 2*cap(t.which) + 12*cap(t.rules) + 512 }
