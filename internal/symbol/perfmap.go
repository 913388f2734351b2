package symbol

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"sockleak/internal/rootfile"
	"sockleak/internal/stack"
)

// maxPerfMap bounds what is read of one perf map. A long-running JIT writes
// some tens of megabytes.
const maxPerfMap = 64 << 20

// perfSymbol is a line of a perf map: "START SIZE name", both in hexadecimal
// (tools/perf/Documentation/jit-interface.txt in the kernel's source).
type perfSymbol struct {
	start, end uint64
	order      uint32 // of its line: code is replaced, the last writer is right
	name       [2]uint32
}

// perfMap is the content of /tmp/perf-PID.map: the names of code that a runtime
// made in memory.
type perfMap struct {
	text    []byte
	symbols []perfSymbol // by start, then order
	longest uint64       // size of the largest
}

// parsePerfMap reads a perf map. Lines that have no such form are skipped and
// counted: a line can be half written while it is read.
func parsePerfMap(text []byte) (m *perfMap, bad int) {
	m = &perfMap{text: text}
	for pos := 0; pos < len(text); {
		end := bytes.IndexByte(text[pos:], '\n')
		if end < 0 {
			end = len(text) - pos
		}
		line := text[pos : pos+end]
		start, rest, good := number(bytes.TrimPrefix(line, []byte("0x")), 16, ' ', true)
		size, rest, good := number(bytes.TrimPrefix(rest, []byte("0x")), 16, ' ', good)
		if good && size > 0 && start+size > start && len(rest) > 0 {
			from := uint32(pos + end - len(rest))
			m.symbols = append(m.symbols, perfSymbol{start, start + size, uint32(len(m.symbols)), [2]uint32{from, uint32(pos + end)}})
			m.longest = max(m.longest, size)
		} else if len(line) > 0 {
			bad++
		}
		pos += end + 1
	}
	slices.SortFunc(m.symbols, func(a, b perfSymbol) int {
		if a.start != b.start {
			if a.start < b.start {
				return -1
			}
			return 1
		}
		return int(a.order) - int(b.order)
	})
	return m, bad
}

// lookup returns the name that was given last to the code at addr.
func (m *perfMap) lookup(addr uint64) (string, bool) {
	i := sort.Search(len(m.symbols), func(i int) bool { return m.symbols[i].start > addr })
	var best *perfSymbol
	for i--; i >= 0 && addr-m.symbols[i].start < m.longest; i-- {
		s := &m.symbols[i]
		if addr < s.end && (best == nil || s.order > best.order) {
			best = s
		}
	}
	if best == nil {
		return "", false
	}
	return string(m.text[best.name[0]:best.name[1]]), true
}

// jit is the generated code of one process.
type jit struct {
	root string // the root directory of the process, in /proc
	path string // of its perf map in there
	file *os.File
	used bool       // a location refers to it
	kind stack.Kind // by the program that makes the code
	size int64      // of the file when it was read
	syms *perfMap
}

// open takes hold of the perf map, so that it can be read when the process is
// gone. There may be none yet.
func (j *jit) open() {
	if j.file != nil || j.root == "" {
		return
	}
	if f, _, err := rootfile.OpenIn(j.root, j.path); err == nil {
		j.file = f
	}
}

// close lets go of the file for good. What was read stays.
func (j *jit) close() error {
	j.root = "" // the number of the process may soon be another's
	if j.file == nil {
		return nil
	}
	f := j.file
	j.file = nil
	return f.Close()
}

// lookup names the code at addr, reading the perf map again if it has grown.
func (j *jit) lookup(addr uint64) (stack.Frame, error) {
	f := stack.Frame{Address: addr, Kind: j.kind}
	j.open()
	err := j.read()
	if j.syms == nil {
		return f, err
	}
	if name, ok := j.syms.lookup(addr); ok {
		nameGenerated(&f, name)
	}
	return f, err
}

func (j *jit) read() error {
	if j.file == nil {
		return nil
	}
	st, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", j.path, err)
	}
	if j.syms != nil && st.Size() == j.size {
		return nil
	}
	text, err := io.ReadAll(io.NewSectionReader(j.file, 0, min(st.Size(), maxPerfMap)))
	if err != nil {
		return fmt.Errorf("read %s: %w", j.path, err)
	}
	bad := 0
	j.syms, bad = parsePerfMap(text)
	j.size = st.Size()
	if bad > 0 && len(j.syms.symbols) == 0 {
		return fmt.Errorf("read %s: not a perf map", j.path)
	}
	if st.Size() > maxPerfMap {
		return fmt.Errorf("read %s: only the first %d MiB", j.path, maxPerfMap>>20)
	}
	return nil
}

// nameGenerated takes the parts out of the names that runtimes write: V8
// "JS:*name /path/file.js:12:5", CPython "py::name:/path/file.py", the JVM
// "Lorg/example/Class;::method". The line is that of the function's start.
func nameGenerated(f *stack.Frame, name string) {
	f.Function = name
	switch {
	case strings.HasPrefix(name, "py::"):
		f.Kind = stack.Python
		f.Function, f.File, _ = strings.Cut(name[len("py::"):], ":")
	case f.Kind == stack.Node:
		nameV8(f, name)
	case f.Kind == stack.Java:
		class, method, ok := strings.Cut(name, ";::")
		if ok && strings.HasPrefix(class, "L") {
			f.Function = strings.ReplaceAll(class[1:], "/", ".") + "." + method
		}
	}
}

func nameV8(f *stack.Frame, name string) {
	tag, rest, ok := strings.Cut(name, ":")
	if !ok || (tag != "JS" && tag != "LazyCompile" && tag != "Function" && tag != "Script" && tag != "Eval") {
		f.Kind = stack.Native // a builtin, a stub, a bytecode handler
		return
	}
	rest = strings.TrimLeft(rest, "*~^+")
	fn, where, _ := strings.Cut(rest, " ")
	if fn == "" {
		fn = "(anonymous)"
	}
	f.Function = fn
	where = strings.TrimPrefix(where, "file://")
	parts := strings.Split(where, ":")
	if n := len(parts); n >= 3 {
		if line, err := strconv.Atoi(parts[n-2]); err == nil && line > 0 {
			f.File, f.Line = strings.Join(parts[:n-2], ":"), line
		}
	}
}
