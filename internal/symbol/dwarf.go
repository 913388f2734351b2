package symbol

import (
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"sockleak/internal/stack"
)

const (
	maxInlined  = 128 // functions inlined into each other
	maxOrigins  = 16  // steps from an instance to the entry with the name
	langGo      = 0x16
	attrLinkage = dwarf.Attr(0x2007) // DW_AT_MIPS_linkage_name, before DWARF 4
)

// span is a range of addresses and the entry that it belongs to: a unit or a
// function.
type span struct {
	low, high uint64 // [low, high)
	entry     dwarf.Offset
}

// dwarfInfo answers from debug information. At first only the ranges of the
// units are read; a unit's functions when an address lies in it.
type dwarfInfo struct {
	sections
	order   binary.ByteOrder
	data    *dwarf.Data
	units   []span
	headers map[dwarf.Offset]unitHeader
	parsed  map[dwarf.Offset]*unitInfo
}

// unitInfo is a unit that was asked for.
type unitInfo struct {
	root  *dwarf.Entry
	funcs []span
	rows  []lineRow // by address
	files []*dwarf.LineFile
	isGo  bool
}

// index reads the ranges of all units.
func (d *dwarfInfo) index() error {
	d.headers, d.parsed = map[dwarf.Offset]unitHeader{}, map[dwarf.Offset]*unitInfo{}
	r := d.data.Reader()
	for pos := uint64(0); pos < uint64(len(d.info)); {
		u, err := nextUnit(d.info, pos, d.order)
		if err != nil {
			return err
		}
		pos = u.end
		if !u.compileish || u.root == u.end {
			continue
		}
		root := dwarf.Offset(u.root)
		r.Seek(root)
		e, err := r.Next()
		if err != nil {
			return fmt.Errorf("unit at %#x: %w", u.root, err)
		}
		if e == nil || e.Tag == dwarf.TagPartialUnit {
			continue
		}
		if d.units, err = d.ranges(d.units, e, root); err != nil {
			return err
		}
		d.headers[root] = u
	}
	sortSpans(d.units)
	return nil
}

// ranges appends the ranges of an entry. Code that the linker dropped is left
// at address zero, or just above for lists; no code is there.
func (d *dwarfInfo) ranges(dst []span, e *dwarf.Entry, as dwarf.Offset) ([]span, error) {
	ranges, err := d.data.Ranges(e)
	if err != nil {
		return dst, fmt.Errorf("entry at %#x: %w", e.Offset, err)
	}
	for _, r := range ranges {
		if r[0] > 1 && r[0] < r[1] {
			dst = append(dst, span{r[0], r[1], as})
		}
	}
	return dst, nil
}

func sortSpans(s []span) {
	slices.SortFunc(s, func(a, b span) int {
		switch {
		case a.low < b.low:
			return -1
		case a.low > b.low:
			return 1
		}
		return 0
	})
}

// find calls f with the entries whose ranges hold addr, the innermost first,
// until f says that it is done. Ranges rarely overlap: nested functions do.
func find(s []span, addr uint64, f func(dwarf.Offset) (bool, error)) error {
	i := sort.Search(len(s), func(i int) bool { return s[i].low > addr })
	for n := 0; i > 0 && n < maxNested; n++ {
		i--
		if addr < s[i].high {
			if done, err := f(s[i].entry); done || err != nil {
				return err
			}
		}
	}
	return nil
}

// unit reads the functions of a unit.
func (d *dwarfInfo) unit(root dwarf.Offset) (*unitInfo, error) {
	if u := d.parsed[root]; u != nil {
		return u, nil
	}
	u := &unitInfo{}
	r := d.data.Reader()
	r.Seek(root)
	var err error
	if u.root, err = r.Next(); err != nil {
		return nil, fmt.Errorf("unit at %#x: %w", root, err)
	}
	lang, _ := u.root.Val(dwarf.AttrLanguage).(int64)
	u.isGo = lang == langGo
	head := d.headers[root]
	shapes, err := parseAbbrevs(d.abbrev, &head)
	if err != nil {
		return nil, fmt.Errorf("abbreviations of unit at %#x: %w", root, err)
	}
	err = scanFunctions(d.info, &head, shapes, d.order, func(at uint64) error {
		r.Seek(dwarf.Offset(at))
		e, err := r.Next()
		if err == nil {
			u.funcs, err = d.ranges(u.funcs, e, e.Offset)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("functions of unit at %#x: %w", root, err)
	}
	sortSpans(u.funcs)
	u.funcs = slices.Clip(u.funcs)
	lines, err := d.data.LineReader(u.root)
	if err == nil {
		err = u.readLines(lines)
	}
	if err != nil {
		return nil, fmt.Errorf("lines of unit at %#x: %w", root, err)
	}
	d.parsed[root] = u
	return u, nil
}

// frames returns the functions at addr, callee first, made after base. It is
// empty where there is no debug information. The function of the last is empty
// if only lines are known.
func (d *dwarfInfo) frames(addr uint64, base stack.Frame) ([]stack.Frame, error) {
	var frames []stack.Frame
	err := find(d.units, addr, func(root dwarf.Offset) (bool, error) {
		u, err := d.unit(root)
		if err != nil {
			return false, err
		}
		f := base
		if u.isGo {
			f.Kind = stack.Go
		}
		known := u.line(addr, &f)
		frames = []stack.Frame{f}
		inFunc := false
		err = find(u.funcs, addr, func(entry dwarf.Offset) (bool, error) {
			inFunc = true
			var err error
			frames, err = d.chain(u, entry, addr, f)
			return true, err
		})
		if !known && !inFunc {
			frames = nil
		}
		return frames != nil, err
	})
	return frames, err
}

// chain returns the function at entry and what is inlined into it at addr.
func (d *dwarfInfo) chain(u *unitInfo, entry dwarf.Offset, addr uint64, at stack.Frame) ([]stack.Frame, error) {
	inlined, err := d.inlinedAt(entry, addr)
	if err != nil {
		return nil, err
	}
	r := d.data.Reader()
	r.Seek(entry)
	fn, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("function at %#x: %w", entry, err)
	}
	frames := make([]stack.Frame, 0, len(inlined)+1)
	for _, e := range slices.Backward(inlined) {
		f := at
		f.Function, f.Inlined = d.name(e), true
		frames = append(frames, f)
		// Where it was called is where the next one was.
		at.File, at.Line = u.file(e.Val(dwarf.AttrCallFile)), 0
		if n, ok := e.Val(dwarf.AttrCallLine).(int64); ok && n > 0 {
			at.Line = int(n)
		}
	}
	at.Function = d.name(fn)
	return append(frames, at), nil
}

// file returns the name of a file by its number in the unit's line table.
func (u *unitInfo) file(val any) string {
	n, ok := val.(int64)
	if !ok || n < 0 || n >= int64(len(u.files)) || u.files[n] == nil {
		return ""
	}
	return u.files[n].Name
}

// inlinedAt returns the inlined calls that addr lies in, outermost first.
func (d *dwarfInfo) inlinedAt(entry dwarf.Offset, addr uint64) ([]*dwarf.Entry, error) {
	var inlined []*dwarf.Entry
	r := d.data.Reader()
	r.Seek(entry)
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return nil, err
	}
	for {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("function at %#x: %w", entry, err)
		}
		if e == nil || e.Tag == 0 {
			return inlined, nil // the innermost has no further child at addr
		}
		if e.Tag == dwarf.TagInlinedSubroutine || e.Tag == dwarf.TagLexDwarfBlock {
			hit, err := d.holds(e, addr)
			if err != nil {
				return nil, err
			}
			if hit && e.Tag == dwarf.TagInlinedSubroutine {
				inlined = append(inlined, e)
			}
			if len(inlined) > maxInlined {
				return nil, errors.New("inlined too deep")
			}
			if hit && !e.Children {
				return inlined, nil
			}
			if hit {
				continue // its children come next
			}
		}
		if err := skipChildren(r, e); err != nil {
			return nil, err
		}
	}
}

// skipChildren steps over an entry's children without recursion: how deep they
// nest is up to the file.
func skipChildren(r *dwarf.Reader, e *dwarf.Entry) error {
	if !e.Children {
		return nil
	}
	if off, ok := e.Val(dwarf.AttrSibling).(dwarf.Offset); ok && off > e.Offset {
		r.Seek(off)
		return nil
	}
	for depth := 1; depth > 0; {
		c, err := r.Next()
		switch {
		case err != nil:
			return fmt.Errorf("children of %#x: %w", e.Offset, err)
		case c == nil:
			return nil
		case c.Tag == 0:
			depth--
		case c.Children:
			depth++
		}
	}
	return nil
}

func (d *dwarfInfo) holds(e *dwarf.Entry, addr uint64) (bool, error) {
	ranges, err := d.data.Ranges(e)
	if err != nil {
		return false, fmt.Errorf("entry at %#x: %w", e.Offset, err)
	}
	return slices.ContainsFunc(ranges, func(r [2]uint64) bool { return addr >= r[0] && addr < r[1] }), nil
}

// name returns the name of a function from the entry it is an instance of. The
// linker's name has the scope, which the plain one hasn't, unless it is C.
func (d *dwarfInfo) name(e *dwarf.Entry) string {
	plain := ""
	r := d.data.Reader()
	for range maxOrigins {
		for _, attr := range []dwarf.Attr{dwarf.AttrLinkageName, attrLinkage} {
			if s, ok := e.Val(attr).(string); ok && mangled(s) {
				return readable(s)
			}
		}
		if s, ok := e.Val(dwarf.AttrName).(string); ok && plain == "" {
			plain = s
		}
		next, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			next, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset)
		}
		if !ok {
			break
		}
		r.Seek(next)
		var err error
		if e, err = r.Next(); err != nil || e == nil {
			break // another file has it (dwz): no name is better than none of the rest
		}
	}
	return plain
}
