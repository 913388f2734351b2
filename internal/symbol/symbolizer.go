package symbol

import (
	"errors"
	"fmt"

	"sockleak/internal/elfguard"
	"sockleak/internal/procfs"
	"sockleak/internal/stack"
)

// Options bounds what a Symbolizer holds. Zero values stand for the defaults.
type Options struct {
	// OpenFiles is the number of mapped files that are kept open, one
	// descriptor each; 256 by default.
	OpenFiles int
	// ParsedFiles is the number of files whose symbols are kept in memory;
	// 32 by default.
	ParsedFiles int
}

// maxCached is the number of locations whose frames are remembered.
const maxCached = 1 << 16

// Symbolizer turns addresses into frames. It belongs to one goroutine.
type Symbolizer struct {
	fs      procfs.FS
	files   *files
	modules map[moduleKey]*Module
	strings map[string]string
	cache   map[question][]stack.Frame
	vdso    *image
	vdsoErr error
	ids     uint32 // modules made so far

	buf  []byte // reused: the file of /proc that was read last
	maps []mapping
}

// question is what Frames was asked.
type question struct {
	loc       Location
	returning bool
}

// New returns a Symbolizer that knows nothing yet.
func New(o Options) *Symbolizer {
	if o.OpenFiles <= 0 {
		o.OpenFiles = 256
	}
	if o.ParsedFiles <= 0 {
		o.ParsedFiles = 32
	}
	return &Symbolizer{
		fs:      procfs.New("/proc"),
		files:   newFiles(o.OpenFiles, o.ParsedFiles),
		modules: map[moduleKey]*Module{},
		strings: map[string]string{},
		cache:   map[question][]stack.Frame{},
	}
}

// Close lets go of all files. What is in no cache gets no names afterwards.
func (s *Symbolizer) Close() error {
	if err := s.files.close(); err != nil {
		return fmt.Errorf("close mapped files: %w", err)
	}
	return nil
}

// intern returns b as a string that is shared with all equal ones.
func (s *Symbolizer) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if v, ok := s.strings[string(b)]; ok {
		return v
	}
	v := string(b)
	s.strings[v] = v
	return v
}

// Frames returns the functions at a location, callee first; at least one frame,
// with an empty Function if there is no symbol. returning says that the
// location is a return address: the call is before it. The frames are the
// caller's to read, not to change. The error says what couldn't be read; it
// comes with frames all the same, and once for each file.
func (s *Symbolizer) Frames(loc Location, returning bool) ([]stack.Frame, error) {
	q := question{loc, returning}
	if f, ok := s.cache[q]; ok {
		return f, nil
	}
	frames, err := s.frames(loc, returning)
	// Generated code can get its name later, and be replaced.
	if loc.module != nil && loc.module.jit == nil {
		if len(s.cache) >= maxCached {
			clear(s.cache)
		}
		s.cache[q] = frames
	}
	return frames, err
}

func (s *Symbolizer) frames(loc Location, returning bool) ([]stack.Frame, error) {
	back := uint64(0)
	if returning && loc.offset > 0 {
		back = 1
	}
	unknown := []stack.Frame{{Module: loc.Module(), Address: loc.offset, Kind: stack.Native}}
	if loc.module == nil {
		return unknown, nil
	}
	if j := loc.module.jit; j != nil {
		f, err := j.lookup(loc.offset - back)
		f.Module, f.Address = loc.module.path, loc.offset
		return []stack.Frame{f}, err
	}
	img, addr, err := s.locate(loc, back)
	if err != nil {
		return unknown, err
	}
	frames, err := img.frames(addr, addr+back)
	for i := range frames {
		frames[i].Module = loc.module.path
	}
	return frames, err
}

var errNoSegment = errors.New("no code at this offset")

// locate returns the image of a location and the virtual address back bytes
// before it.
func (s *Symbolizer) locate(loc Location, back uint64) (*image, uint64, error) {
	var img *image
	var err error
	switch {
	case loc.module == nil || loc.module.jit != nil:
		return nil, 0, errNoSegment
	case loc.module.vdso:
		if s.vdso == nil && s.vdsoErr == nil {
			s.vdso, s.vdsoErr = s.newVDSO()
		}
		img, err = s.vdso, s.vdsoErr
	default:
		img, err = s.files.image(loc.module.file)
	}
	if err != nil {
		return nil, 0, err
	}
	addr, ok := img.address(loc.offset - back)
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", loc.Module(), errNoSegment)
	}
	return img, addr, nil
}

// Code is the instructions around a location, for those who look whether there
// is a call.
type Code struct {
	Address uint64 // virtual address of the location in the ELF file
	img     *image
}

// Code returns access to the instructions of a file. There is none for memory
// that no ELF file is behind.
func (s *Symbolizer) Code(loc Location) (Code, error) {
	img, addr, err := s.locate(loc, 0)
	return Code{addr, img}, err
}

// Machine returns the architecture in the ELF file's header, EM_*.
func (c Code) Machine() uint16 { return uint16(c.img.elf.Machine) }

// Read fills b with the instructions at a virtual address of the same file. It
// is false if they aren't all in executable segments of the file.
func (c Code) Read(addr uint64, b []byte) bool { return readCode(c.img.elf, addr, b) }

// Function returns the start of the function that holds a virtual address.
func (c Code) Function(addr uint64) (start uint64, ok bool) {
	err := elfguard.Do(c.img.path, func() error {
		_, start, ok = c.img.function(addr)
		return nil
	})
	return start, ok && err == nil
}

// Section returns the name of the section that holds a virtual address; empty
// if there is none or the file has no section headers.
func (c Code) Section(addr uint64) string {
	for _, s := range c.img.elf.Sections {
		if s.Addr != 0 && addr >= s.Addr && addr-s.Addr < s.Size {
			return s.Name
		}
	}
	return ""
}
