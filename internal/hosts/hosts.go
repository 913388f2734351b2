// Package hosts reads hosts(5), the file /etc/hosts, as a process sees it.
package hosts

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"sockleak/internal/rootfile"
)

// maxSize is how many bytes of a file are read. Those that are longer are lists of
// what to block, and the names of a program's peers stand before them.
const maxSize = 1 << 20

// maxTables bounds the files that are kept. Most processes share one.
const maxTables = 256

// Table names addresses.
type Table map[netip.Addr]string

// Files reads hosts files, each once for all processes that see it, and again when
// it was changed. The zero Files is ready to use.
type Files struct {
	tables map[rootfile.Identity]Table
}

// Below returns the table that is /etc/hosts below root, for instance
// /proc/PID/root: that is in the mount namespace of the process.
func (f *Files) Below(root string) (Table, error) {
	file, id, err := rootfile.OpenIn(root, "/etc/hosts")
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read from
	if t, known := f.tables[id]; known {
		return t, nil
	}
	t, err := read(file)
	if err != nil {
		return nil, err
	}
	if f.tables == nil || len(f.tables) >= maxTables {
		f.tables = map[rootfile.Identity]Table{}
	}
	f.tables[id] = t
	return t, nil
}

func read(file *os.File) (Table, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxSize))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if len(text) == maxSize { // the last line may be cut
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	return Parse(string(text)), nil
}

// Parse reads the text of a hosts file: lines of an address, the name it is called
// by, and other names. The first line of an address counts, as for the C library.
// Lines that are none are left out, and so is the address that stands for no host.
func Parse(text string) Table {
	t := Table{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 || !isName(fields[1]) {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil || a.IsUnspecified() {
			continue
		}
		a = a.Unmap()
		if _, named := t[a]; !named {
			t[a] = fields[1]
		}
	}
	return t
}

// Name returns what an address is called; empty if it has no name.
func (t Table) Name(a netip.Addr) string {
	a = a.Unmap()
	if name := t[a]; name != "" {
		return name
	}
	return t[a.WithZone("")]
}

// isName reports whether s can be the name of a host (RFC 1123, 2.1; the
// underscore is common all the same).
func isName(s string) bool {
	const maxName = 253 // RFC 1035, 2.3.4, in writing
	return len(s) <= maxName && strings.IndexFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	}) < 0
}
