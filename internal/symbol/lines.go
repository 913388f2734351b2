package symbol

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"sockleak/internal/stack"
)

// lineRow says which line the code from addr to the next row's is of.
type lineRow struct {
	addr uint64
	file int32 // index in unitInfo.files; -1 after the end of a sequence
	line int32
}

// maxRows bounds the line table of one unit.
const maxRows = 8 << 20

// readLines reads the line table of a unit, sorted by address. LineReader's
// SeekPC won't do: it takes the first sequence for the lowest, and compilers put
// code in sections of its own (.text.startup, .text.unlikely) that the linker
// places before.
func (u *unitInfo) readLines(r *dwarf.LineReader) error {
	if r == nil {
		return nil
	}
	u.files = r.Files()
	number := make(map[*dwarf.LineFile]int32, len(u.files))
	for i, f := range u.files {
		if f != nil {
			number[f] = int32(i)
		}
	}
	var e dwarf.LineEntry
	for len(u.rows) < maxRows {
		if err := r.Next(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("line table: %w", err)
		}
		row := lineRow{addr: e.Address, file: -1, line: int32(e.Line)}
		if n, ok := number[e.File]; ok && !e.EndSequence {
			row.file = n
		}
		u.rows = append(u.rows, row)
	}
	// Where one sequence ends and another begins, the beginning counts; of rows
	// with one address, the last.
	slices.SortStableFunc(u.rows, func(a, b lineRow) int {
		switch {
		case a.addr != b.addr && a.addr < b.addr, a.addr == b.addr && a.file < 0 && b.file >= 0:
			return -1
		case a.addr != b.addr, a.file >= 0 && b.file < 0:
			return 1
		}
		return 0
	})
	u.rows = slices.Clip(u.rows)
	return nil
}

// line fills in file and line of addr.
func (u *unitInfo) line(addr uint64, f *stack.Frame) bool {
	i := sort.Search(len(u.rows), func(i int) bool { return u.rows[i].addr > addr }) - 1
	if i < 0 || u.rows[i].file < 0 {
		return false // the unit has no lines there: data in code, thunks
	}
	f.File = u.files[u.rows[i].file].Name
	f.Line = int(u.rows[i].line)
	return true
}
