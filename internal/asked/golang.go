package asked

import (
	"os"
	"strconv"
	"strings"

	"sockleak/internal/symbol"
)

// layouts are the offsets of runtime.g.m, runtime.m.curg and runtime.g.gopc by
// minor version of Go 1, as the DWARF of a program built with each has them; they
// are the same on amd64 and arm64. Of a version that isn't here nothing is known:
// it may have moved them.
func layouts() map[int]askedGoLayout {
	layout := func(m, curg, gopc uint32) askedGoLayout {
		return askedGoLayout{G_m: m, M_curg: curg, G_gopc: gopc}
	}
	return map[int]askedGoLayout{
		20: layout(48, 192, 296),
		21: layout(48, 192, 280),
		22: layout(48, 192, 280),
		23: layout(48, 192, 288),
		24: layout(48, 192, 288),
		25: layout(48, 184, 280),
		26: layout(48, 184, 288),
	}
}

// goLayout returns where things are in the runtime of a Go program, nil if the
// file is none, or one of a version that isn't known.
func goLayout(f *os.File) (*askedGoLayout, error) {
	version, err := symbol.GoVersion(f, f.Name())
	if err != nil {
		return nil, err
	}
	minor, ok := minorVersion(version)
	if !ok {
		return nil, nil
	}
	if l, known := layouts()[minor]; known {
		return &l, nil
	}
	return nil, nil
}

// minorVersion returns 22 for "go1.22.3" and "go1.22rc1 X:rangefunc". What was
// built from the source between two releases is of no version.
func minorVersion(version string) (int, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	n, err := strconv.Atoi(rest[:end])
	return n, err == nil
}
