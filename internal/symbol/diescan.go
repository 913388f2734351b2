package symbol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The standard library builds an object for every entry of .debug_info that it
// steps over. Finding the few functions among the millions of entries of a
// large unit needs none of them, so this scanner only knows how long things are.

// DWARF constants used below, from the DWARF 5 standard, section 7.
const (
	tagSubprogram = 0x2e
	attrLowPC     = 0x11
	attrRanges    = 0x55

	formIndirect      = 0x16
	formImplicitConst = 0x21
)

// The sizes of forms that depend on something.
const (
	sizeAddr    = -1 - iota // of the unit's addresses
	sizeOffset              // 4 or 8 bytes
	sizeRefAddr             // an address in DWARF 2, an offset later
	sizeLEB                 // until the high bit is clear
	sizeString              // until a zero
	sizeBlock1              // one byte of length, and so many bytes
	sizeBlock2
	sizeBlock4
	sizeBlockLEB
	sizeSelf // the form is in the entry
)

// formSize returns the size of a form in bytes, or one of the constants above;
// false if the form is unknown.
func formSize(form uint64) (int, bool) {
	switch form {
	case 0x19, formImplicitConst: // flag_present
		return 0, true
	case 0x0b, 0x0c, 0x11, 0x25, 0x29: // data1, flag, ref1, strx1, addrx1
		return 1, true
	case 0x05, 0x12, 0x26, 0x2a: // data2, ref2, strx2, addrx2
		return 2, true
	case 0x27, 0x2b: // strx3, addrx3
		return 3, true
	case 0x06, 0x13, 0x1c, 0x28, 0x2c: // data4, ref4, ref_sup4, strx4, addrx4
		return 4, true
	case 0x07, 0x14, 0x20, 0x24: // data8, ref8, ref_sig8, ref_sup8
		return 8, true
	case 0x1e: // data16
		return 16, true
	case 0x01:
		return sizeAddr, true
	case 0x0e, 0x17, 0x1d, 0x1f, 0x1f20, 0x1f21: // strp, sec_offset, strp_sup, line_strp, GNU_ref_alt, GNU_strp_alt
		return sizeOffset, true
	case 0x10:
		return sizeRefAddr, true
	// sdata, udata, ref_udata, strx, addrx, loclistx, rnglistx, GNU_addr_index, GNU_str_index
	case 0x0d, 0x0f, 0x15, 0x1a, 0x1b, 0x22, 0x23, 0x1f01, 0x1f02:
		return sizeLEB, true
	case 0x08:
		return sizeString, true
	case 0x0a:
		return sizeBlock1, true
	case 0x03:
		return sizeBlock2, true
	case 0x04:
		return sizeBlock4, true
	case 0x09, 0x18: // block, exprloc
		return sizeBlockLEB, true
	case formIndirect:
		return sizeSelf, true
	}
	return 0, false
}

var (
	errShort = errors.New("entry beyond the end of its unit")
	errForm  = errors.New("unknown form")
)

// abbrev is the shape of an entry.
type abbrev struct {
	function bool // a subprogram with code of its own
	children bool
	fixed    int   // bytes, when all sizes are constant; else -1
	sizes    []int // of its attributes
}

// unitHeader is where a unit is, and what its entries look like.
type unitHeader struct {
	root       uint64 // offset of the first entry in .debug_info
	end        uint64
	abbrevs    uint64 // offset in .debug_abbrev
	addr, off  int    // size of addresses and offsets in bytes
	version    uint16
	compileish bool // compile, partial or skeleton unit
}

// cursor reads little or big endian numbers without ever leaving its slice.
type cursor struct {
	b     []byte
	order binary.ByteOrder
	bad   bool
}

func (c *cursor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) uint(n int) uint64 {
	b := c.take(uint64(n))
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(c.order.Uint16(b))
	case 4:
		return uint64(c.order.Uint32(b))
	case 8:
		return c.order.Uint64(b)
	}
	return 0
}

func (c *cursor) leb() uint64 {
	var v uint64
	for i, b := range c.b {
		if shift := 7 * i; shift < 64 {
			v |= uint64(b&0x7f) << shift
		}
		if b < 0x80 {
			c.b = c.b[i+1:]
			return v
		}
	}
	c.bad = true
	return 0
}

// nextUnit reads a unit's header at offset pos of .debug_info.
func nextUnit(info []byte, pos uint64, order binary.ByteOrder) (unitHeader, error) {
	c := cursor{b: info[pos:], order: order}
	u := unitHeader{off: 4, compileish: true}
	length := c.uint(4)
	if length == 0xffffffff {
		u.off, length = 8, c.uint(8)
	}
	if c.bad || length > uint64(len(c.b)) {
		return u, fmt.Errorf("unit at %#x: %w", pos, errShort)
	}
	u.end = uint64(len(info)) - uint64(len(c.b)) + length
	if length == 0 { // padding
		u.root, u.compileish = u.end, false
		return u, nil
	}
	u.version = uint16(c.uint(2))
	if u.version >= 5 {
		kind := c.uint(1)
		u.addr, u.abbrevs = int(c.uint(1)), c.uint(u.off)
		switch kind {
		case 0x02, 0x06: // type units
			u.compileish = false
			c.take(uint64(8 + u.off))
		case 0x04, 0x05: // skeleton, split compile
			c.take(8)
		}
	} else {
		u.abbrevs, u.addr = c.uint(u.off), int(c.uint(1))
	}
	u.root = uint64(len(info) - len(c.b))
	if c.bad || u.root > u.end || u.version < 2 || u.version > 5 {
		return u, fmt.Errorf("unit at %#x, version %d: %w", pos, u.version, errShort)
	}
	return u, nil
}

// parseAbbrevs reads the shapes that a unit uses.
func parseAbbrevs(section []byte, u *unitHeader) (map[uint64]*abbrev, error) {
	if u.abbrevs > uint64(len(section)) {
		return nil, errShort
	}
	c := cursor{b: section[u.abbrevs:]}
	shapes := map[uint64]*abbrev{}
	for {
		code := c.leb()
		if code == 0 {
			if c.bad {
				return nil, errShort
			}
			return shapes, nil
		}
		a := &abbrev{function: c.leb() == tagSubprogram}
		a.children = c.uint(1) != 0
		if err := a.attributes(&c, u); err != nil {
			return nil, err
		}
		shapes[code] = a
	}
}

// attributes reads the list of attributes and forms.
func (a *abbrev) attributes(c *cursor, u *unitHeader) error {
	code := false
	for {
		attr, form := c.leb(), c.leb()
		if c.bad {
			return errShort
		}
		if form == formImplicitConst {
			c.leb() // the value is here
		}
		if attr == 0 && form == 0 {
			break
		}
		code = code || attr == attrLowPC || attr == attrRanges
		n, ok := formSize(form)
		if !ok {
			return fmt.Errorf("%w %#x", errForm, form)
		}
		a.sizes = append(a.sizes, u.size(n))
	}
	a.function = a.function && code
	for _, n := range a.sizes {
		if n < 0 {
			a.fixed = -1
			return nil
		}
		a.fixed += n
	}
	return nil
}

// size resolves the sizes that are the same all over a unit.
func (u *unitHeader) size(n int) int {
	switch {
	case n == sizeAddr, n == sizeRefAddr && u.version == 2:
		return u.addr
	case n == sizeOffset, n == sizeRefAddr:
		return u.off
	}
	return n
}

// scanFunctions calls found with the offset of every subprogram entry of a unit
// that has code.
func scanFunctions(info []byte, u *unitHeader, shapes map[uint64]*abbrev, order binary.ByteOrder, found func(uint64) error) error {
	c := cursor{b: info[u.root:u.end], order: order}
	for len(c.b) > 0 && !c.bad {
		at := u.end - uint64(len(c.b))
		code := c.leb()
		if code == 0 {
			continue // end of a list of children
		}
		a := shapes[code]
		if a == nil {
			return fmt.Errorf("entry at %#x: no abbreviation %d", at, code)
		}
		if a.function {
			if err := found(at); err != nil {
				return err
			}
		}
		if a.fixed >= 0 {
			c.take(uint64(a.fixed))
			continue
		}
		for _, n := range a.sizes {
			if err := c.skip(n, u); err != nil {
				return err
			}
		}
	}
	if c.bad {
		return errShort
	}
	return nil
}

// skip steps over one value.
func (c *cursor) skip(n int, u *unitHeader) error {
	switch n {
	case sizeLEB:
		c.leb()
	case sizeString:
		for {
			b := c.take(1)
			if c.bad || b[0] == 0 {
				return nil
			}
		}
	case sizeBlock1:
		c.take(c.uint(1))
	case sizeBlock2:
		c.take(c.uint(2))
	case sizeBlock4:
		c.take(c.uint(4))
	case sizeBlockLEB:
		c.take(c.leb())
	case sizeSelf:
		form := c.leb()
		size, ok := formSize(form)
		if !ok || form == formIndirect || form == formImplicitConst {
			return fmt.Errorf("%w %#x", errForm, form)
		}
		return c.skip(u.size(size), u)
	default:
		c.take(uint64(n))
	}
	return nil
}
