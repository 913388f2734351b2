package symbol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// ErrGone says that a process ended, or its number was given to another.
var ErrGone = errors.New("the process ended")

// Process is what was kept of a process: where which code was.
type Process struct {
	// Exe is the path of the program as the process sees it; empty if it
	// couldn't be read.
	Exe     string
	key     event.ProcessKey
	shown   uint32 // the number under which /proc shows it: procfs.Living
	maps    []mapping
	modules []*Module // of maps, index by index
	jit     *jit
}

// Module is a mapped file, or the code that a process made in memory.
type Module struct {
	path string
	file *file // nil if there is none
	jit  *jit  // names for code without an ELF file; may be nil
	vdso bool
	id   uint32 // tells it from all others
}

// Location is a place in the code. It can be compared, means the same in every
// process that maps the same file, and outlives the process.
type Location struct {
	module *Module
	offset uint64 // in the file; an address if there is no ELF file
}

// Module returns the path of the mapped file as the process saw it, or a name
// in brackets.
func (l Location) Module() string {
	if l.module == nil {
		return ""
	}
	return l.module.path
}

// AppendKey appends a form of l to b that is the same for equal locations only.
func (l Location) AppendKey(b []byte) []byte {
	id := uint32(0)
	if l.module != nil {
		id = l.module.id
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(b, id), l.offset)
}

// clockTick is the unit of times in /proc/PID/stat in ns: USER_HZ is 100 on
// every architecture that is built for.
const clockTick = 10_000_000

// Capture reads the executable mappings of a process and takes hold of the
// files. The error is ErrGone when p is not there any more. A zero p.Start
// stands for any process with that number.
func (s *Symbolizer) Capture(p event.ProcessKey) (*Process, error) {
	shown := s.fs.Living(p.PID)
	dir := "/proc/" + strconv.FormatUint(uint64(p.PID), 10)
	// First: a process that ends while the rest is read has its number for
	// longer than that takes.
	if err := s.sameProcess(dir, p); err != nil {
		return nil, err
	}
	dir = "/proc/" + strconv.FormatUint(uint64(shown), 10)
	if err := s.readProc(dir + "/maps"); err != nil {
		return nil, err
	}
	proc := &Process{key: p, shown: shown}
	var err error
	s.maps, err = parseMaps(s.maps[:0], s.buf, s.intern)
	if err != nil {
		return nil, fmt.Errorf("read %s/maps: %w", dir, err)
	}
	if len(s.maps) == 0 {
		return nil, ErrGone // a zombie has no memory left
	}
	proc.maps = append(proc.maps, s.maps...)
	proc.Exe, _ = os.Readlink(dir + "/exe") // denied for some; only a hint
	proc.modules = make([]*Module, len(proc.maps))
	for i := range proc.maps {
		proc.modules[i] = s.module(proc, &proc.maps[i])
	}
	return proc, nil
}

// Mapping is an executable mapping that was seen to be made.
type Mapping struct {
	Start, End uint64 // [Start, End)
	Offset     uint64 // in the file, bytes
	Dev        uint64 // major<<32 | minor
	Inode      uint64 // 0 for anonymous memory
	Path       string // as the process saw it
}

// Recall makes a Process of mappings that somebody else followed, sorted by
// address and apart from each other, for one that is gone. The files are opened
// by their paths: those of another mount namespace are not found.
func (s *Symbolizer) Recall(p event.ProcessKey, maps []Mapping) *Process {
	proc := &Process{key: p, shown: p.PID}
	for _, m := range maps {
		path := s.intern([]byte(m.Path))
		proc.maps = append(proc.maps, mapping{start: m.Start, end: m.End, offset: m.Offset, dev: m.Dev, inode: m.Inode, path: path})
		proc.modules = append(proc.modules, s.module(proc, &proc.maps[len(proc.maps)-1]))
	}
	return proc
}

// readProc reads a file of /proc whole into s.buf.
func (s *Symbolizer) readProc(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return procError(path, err)
	}
	s.buf = s.buf[:0]
	for {
		if len(s.buf) == cap(s.buf) {
			s.buf = append(s.buf, 0)[:len(s.buf)]
		}
		n, err := f.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.Join(procError(path, err), f.Close())
		}
	}
	return f.Close()
}

func (s *Symbolizer) sameProcess(dir string, p event.ProcessKey) error {
	if p.Start == 0 {
		return nil
	}
	if err := s.readProc(dir + "/stat"); err != nil {
		return err
	}
	ticks, err := startTime(s.buf)
	if err != nil {
		return fmt.Errorf("read %s/stat: %w", dir, err)
	}
	if ticks != p.Start/clockTick {
		return ErrGone
	}
	return nil
}

// startTime returns field 22 of /proc/PID/stat. The name in field 2 may hold
// anything, so it counts from the last parenthesis.
func startTime(stat []byte) (uint64, error) {
	i := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, errMaps
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// module returns the module of a mapping. Those with an ELF file are shared by
// all processes.
func (s *Symbolizer) module(p *Process, m *mapping) *Module {
	if m.path == "[vdso]" {
		return s.shared(moduleKey{path: m.path})
	}
	if m.inode != 0 {
		f := s.files.capture(p.shown, m)
		if f.elf || f.err != nil {
			return s.shared(moduleKey{m.path, f})
		}
	}
	if p.jit == nil {
		p.jit = s.newJIT(p)
	}
	return s.newModule(Module{path: m.path, jit: p.jit})
}

type moduleKey struct {
	path string
	file *file
}

func (s *Symbolizer) shared(key moduleKey) *Module {
	m := s.modules[key]
	if m == nil {
		m = s.newModule(Module{path: key.path, file: key.file, vdso: key.file == nil})
		if key.file == nil || key.file.err == nil {
			s.modules[key] = m
		}
	}
	return m
}

func (s *Symbolizer) newModule(m Module) *Module {
	s.ids++ // zero is for no module
	m.id = s.ids
	return &m
}

// newJIT prepares for the perf map of a process, whose name has the number that
// the process has for itself.
func (s *Symbolizer) newJIT(p *Process) *jit {
	j := &jit{kind: stack.Native, root: fmt.Sprintf("/proc/%d/root", p.shown)}
	switch name := filepath.Base(strings.TrimSuffix(p.Exe, deletedMark)); name {
	case "node", "nodejs":
		j.kind = stack.Node
	case "java":
		j.kind = stack.Java
	}
	pid := strconv.FormatUint(uint64(p.key.PID), 10)
	if err := s.readProc("/proc/" + pid + "/status"); err == nil {
		pid = innermostPID(s.buf, pid)
	}
	j.path = "/tmp/perf-" + pid + ".map"
	j.open()
	return j
}

// innermostPID returns the last number of NSpid in /proc/PID/status.
func innermostPID(status []byte, pid string) string {
	_, rest, ok := bytes.Cut(status, []byte("\nNSpid:"))
	if !ok {
		return pid
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if f := bytes.Fields(line); len(f) > 0 {
		return string(f[len(f)-1])
	}
	return pid
}

// Locate finds the code at an address. It is false if there is no executable
// mapping.
func (p *Process) Locate(addr uint64) (Location, bool) {
	i := sort.Search(len(p.maps), func(i int) bool { return p.maps[i].end > addr })
	if i == len(p.maps) || addr < p.maps[i].start {
		return Location{module: nil, offset: addr}, false
	}
	m, mod := &p.maps[i], p.modules[i]
	if mod.file == nil && !mod.vdso {
		mod.jit.used = true
		return Location{mod, addr}, true
	}
	return Location{mod, addr - m.start + m.offset}, true
}

// Same says whether two captures of a process show the same mappings.
func (p *Process) Same(o *Process) bool {
	if len(p.maps) != len(o.maps) {
		return false
	}
	for i := range p.maps {
		if p.maps[i] != o.maps[i] {
			return false
		}
	}
	return true
}

// Close lets go of what belongs to this process alone. Its locations stay good.
func (p *Process) Close() error {
	if p.jit == nil {
		return nil
	}
	var err error
	if p.jit.used {
		err = p.jit.read()
	}
	return errors.Join(err, p.jit.close())
}

// procError tells a process that is gone from one that may not be looked at.
func procError(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return fmt.Errorf("read %s: %w", path, err)
}
