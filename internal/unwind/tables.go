package unwind

import (
	"container/list"
	"debug/elf"
	"fmt"
	"runtime"

	"sockleak/internal/symbol"
)

// maxTables bounds the memory of all tables, in bytes. libc's takes 150 KB,
// node's 2 MB.
const maxTables = 64 << 20

// tables holds the tables of the files that were met, the last used first.
type tables struct {
	symbols *symbol.Symbolizer
	machine elf.Machine
	max     int
	size    int
	by      map[symbol.Object]*list.Element // of *entry
	recent  *list.List
}

// entry is a table, or why there is none.
type entry struct {
	object symbol.Object
	table  *table
	err    error
}

func (e *entry) size() int {
	if e.table == nil {
		return 128
	}
	return e.table.size()
}

func newTables(s *symbol.Symbolizer) *tables {
	machine := elf.EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_AARCH64
	}
	return &tables{symbols: s, machine: machine, max: maxTables, by: map[symbol.Object]*list.Element{}, recent: list.New()}
}

// of returns the table of a file, reading it the first time.
func (t *tables) of(o symbol.Object) (*table, error) {
	if e := t.by[o]; e != nil {
		t.recent.MoveToFront(e)
		have := e.Value.(*entry)
		return have.table, have.err
	}
	e := &entry{object: o}
	r, err := t.symbols.Reader(o)
	if err != nil {
		return nil, err // it may be there another time
	}
	e.table, e.err = readTable(r)
	t.by[o] = t.recent.PushFront(e)
	t.size += e.size()
	for t.size > t.max && t.recent.Len() > 1 {
		old := t.recent.Remove(t.recent.Back()).(*entry)
		delete(t.by, old.object)
		t.size -= old.size()
	}
	return e.table, e.err
}

// rule returns how to unwind the code at a location.
func (t *tables) rule(l symbol.Location) (rule, error) {
	o, ok := l.Object()
	if !ok {
		return rule{}, errNoTable
	}
	table, err := t.of(o)
	if err != nil {
		return rule{}, fmt.Errorf("%s: %w", l.Module(), err)
	}
	if r, ok := table.find(l.Offset()); ok {
		return r, nil
	}
	return rule{}, errNoTable
}
