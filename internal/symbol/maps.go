// Package symbol turns addresses of processes into functions, files and lines.
//
// What is needed to do so later, when the process may be gone, is kept at the
// time of capture: its executable mappings, and one open file for each distinct
// file that is mapped. Everything else is read when it is first asked for, and
// forgotten again when other files push it out.
//
// Files belong to the programs that are looked at, which may be hostile: no
// content makes this package panic, loop or allocate without limit.
package symbol

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// mapping is one executable mapping of a process, a line of proc_pid_maps(5).
type mapping struct {
	start, end uint64 // [start, end)
	offset     uint64 // in the file
	dev        uint64 // major<<32 | minor
	inode      uint64 // 0 for anonymous memory
	path       string // as the process sees it; "[vdso]" and others; empty for anonymous memory
}

// maxMappings bounds the executable mappings kept for one process; the kernel's
// own default limit of all mappings is 65,530 (vm.max_map_count).
const maxMappings = 1 << 16

var errMaps = errors.New("malformed line")

// parseMaps appends the executable mappings in text, which has the format of
// /proc/PID/maps, to dst. Paths come from intern, so that a path which was seen
// before costs no memory.
func parseMaps(dst []mapping, text []byte, intern func([]byte) string) ([]mapping, error) {
	for n := 1; len(text) > 0; n++ {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		m, ok, err := parseMapping(line, intern)
		if err != nil {
			return dst, fmt.Errorf("line %d: %w", n, err)
		}
		if !ok {
			continue
		}
		if len(dst) > 0 && m.start < dst[len(dst)-1].end {
			return dst, fmt.Errorf("line %d: mappings out of order", n)
		}
		if len(dst) == maxMappings {
			return dst, fmt.Errorf("line %d: more than %d executable mappings", n, maxMappings)
		}
		dst = append(dst, m)
	}
	return dst, nil
}

// parseMapping reads one line; ok is false if the mapping isn't executable.
func parseMapping(line []byte, intern func([]byte) string) (m mapping, ok bool, err error) {
	var major, minor uint64
	good := true
	hex := func(end byte) (v uint64) {
		v, line, good = number(line, 16, end, good)
		return v
	}
	m.start, m.end = hex('-'), hex(' ')
	if !good || m.end <= m.start || len(line) < 5 || line[4] != ' ' {
		return m, false, errMaps
	}
	ok, line = line[2] == 'x', line[5:]
	m.offset = hex(' ')
	major, minor = hex(':'), hex(' ')
	m.dev = major<<32 | minor&math.MaxUint32
	m.inode, line, good = number(line, 10, ' ', good)
	if !good {
		return m, false, errMaps
	}
	// The vsyscall page is in every process and no code that calls it is of
	// interest; addresses that point there are garbage.
	if path := bytes.TrimLeft(line, " "); ok && string(path) != "[vsyscall]" {
		m.path = intern(path)
		return m, true, nil
	}
	return m, false, nil
}

// number reads an unsigned number of the given base that is followed by end, or
// by nothing when end is a space. It does nothing when good is already false.
func number(b []byte, base uint64, end byte, good bool) (uint64, []byte, bool) {
	if !good {
		return 0, b, false
	}
	var v uint64
	for i, c := range b {
		var d uint64
		switch {
		case c == end:
			return v, b[i+1:], i > 0
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case base == 16 && c >= 'a' && c <= 'f':
			d = uint64(c-'a') + 10
		default:
			return 0, b, false
		}
		if v > (math.MaxUint64-d)/base {
			return 0, b, false
		}
		v = v*base + d
	}
	return v, nil, end == ' ' && len(b) > 0
}
