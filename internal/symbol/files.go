package symbol

import (
	"bytes"
	"container/list"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	"sockleak/internal/rootfile"
)

const deletedMark = " (deleted)"

// fileKey names a mapped file as /proc/PID/maps does. The path is part of it
// because on file systems with subvolumes the numbers alone are not unique.
type fileKey struct {
	dev, inode uint64
	path       string
}

// file is one distinct mapped file.
type file struct {
	id   rootfile.Identity
	path string
	pid  uint32        // the last process seen to map it: leads to its mount namespace
	elf  bool          // starts like an ELF file
	f    *os.File      // nil after it was pushed out, or when it couldn't be opened
	open *list.Element // in files.open while f is not nil
	err  error         // why it couldn't be opened

	img    *image        // nil until it is needed, and after it was pushed out
	parsed *list.Element // in files.parsed while img is not nil
}

// files holds the mapped files of all processes: one descriptor for each as
// long as there are not too many, and the parsed content of the few that were
// used last.
type files struct {
	maxOpen, maxParsed int
	byKey              map[fileKey]*file
	open, parsed       *list.List // of *file, the last used first
}

func newFiles(maxOpen, maxParsed int) *files {
	return &files{maxOpen: maxOpen, maxParsed: maxParsed, byKey: map[fileKey]*file{}, open: list.New(), parsed: list.New()}
}

// capture returns the file behind a mapping of process pid, open. A file that
// can't be opened is returned too: it says why.
func (s *files) capture(pid uint32, m *mapping) *file {
	key := fileKey{m.dev, m.inode, m.path}
	if f := s.byKey[key]; f != nil {
		// An open file keeps its inode number from being given to another.
		if f.f != nil {
			f.pid = pid
			s.open.MoveToFront(f.open)
			return f
		}
	}
	h, id, err := openMapped(pid, m)
	if f := s.byKey[key]; f != nil && err == nil && f.id == id {
		f.pid = pid
		s.hold(f, h)
		return f
	}
	f := &file{id: id, path: m.path, pid: pid, err: err}
	if err != nil {
		return f // not remembered: the next process may have better luck
	}
	var magic [len(elf.ELFMAG)]byte
	_, err = h.ReadAt(magic[:], 0)
	f.elf = err == nil && bytes.Equal(magic[:], []byte(elf.ELFMAG))
	s.byKey[key] = f
	s.hold(f, h)
	return f
}

// openMapped opens the file of a mapping. The link in map_files leads to the
// very file, deleted or not, in whatever mount namespace; where it is refused
// (it needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN), the path as the process
// sees it must do, if it still is the same file.
func openMapped(pid uint32, m *mapping) (*os.File, rootfile.Identity, error) {
	f, id, err := rootfile.Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.start, m.end))
	if err == nil {
		return f, id, nil
	}
	if strings.HasSuffix(m.path, deletedMark) || errors.Is(err, rootfile.ErrNotRegular) {
		return nil, rootfile.Identity{}, err
	}
	f, id, err = rootfile.OpenIn(fmt.Sprintf("/proc/%d/root", pid), m.path)
	if errors.Is(err, os.ErrNotExist) {
		// The process is gone: most share our mount namespace.
		f, id, err = rootfile.OpenIn("/", m.path)
	}
	if err != nil {
		return nil, rootfile.Identity{}, err
	}
	if id.Inode != m.inode {
		return nil, rootfile.Identity{}, errors.Join(fmt.Errorf("open %s: it is another file now", m.path), f.Close())
	}
	return f, id, nil
}

// hold keeps h as the open file of f and lets go of the one that was not used
// for the longest time when there are too many: first of those that can be
// opened again.
func (s *files) hold(f *file, h *os.File) {
	f.f = h
	f.open = s.open.PushFront(f)
	if s.open.Len() <= s.maxOpen {
		return
	}
	victim := s.open.Back()
	for e := victim; e != s.open.Front(); e = e.Prev() {
		if !strings.HasSuffix(e.Value.(*file).path, deletedMark) {
			victim = e
			break
		}
	}
	old := victim.Value.(*file)
	s.forget(old)
	s.open.Remove(victim)
	// A file only read from: nothing is lost when close fails.
	_ = old.f.Close()
	old.f, old.open = nil, nil
}

// handle returns the open file, opening it again if it was pushed out.
func (s *files) handle(f *file) (*os.File, error) {
	if f.err != nil {
		return nil, f.err
	}
	if f.f != nil {
		s.open.MoveToFront(f.open)
		return f.f, nil
	}
	for _, root := range []string{fmt.Sprintf("/proc/%d/root", f.pid), "/"} {
		h, id, err := rootfile.OpenIn(root, f.path)
		if err != nil {
			continue
		}
		if id == f.id {
			s.hold(f, h)
			return h, nil
		}
		_ = h.Close()
	}
	return nil, fmt.Errorf("open %s: the file is gone, and was not kept open because more than %d were", f.path, s.maxOpen)
}

// image returns the parsed file.
func (s *files) image(f *file) (*image, error) {
	if f.img != nil {
		s.parsed.MoveToFront(f.parsed)
		return f.img, nil
	}
	h, err := s.handle(f)
	if err != nil {
		return nil, err
	}
	img, err := newImage(h, f.path, f.pid)
	if err != nil {
		return nil, err
	}
	f.img, f.parsed = img, s.parsed.PushFront(f)
	if s.parsed.Len() > s.maxParsed {
		s.forget(s.parsed.Back().Value.(*file))
	}
	return img, nil
}

// forget drops the parsed content of f.
func (s *files) forget(f *file) {
	if f.img == nil {
		return
	}
	f.img.close()
	s.parsed.Remove(f.parsed)
	f.img, f.parsed = nil, nil
}

// close lets go of everything.
func (s *files) close() error {
	var errs []error
	for s.parsed.Len() > 0 {
		s.forget(s.parsed.Front().Value.(*file))
	}
	for e := s.open.Front(); e != nil; e = e.Next() {
		f := e.Value.(*file)
		errs = append(errs, f.f.Close())
		f.f, f.open = nil, nil
	}
	s.open.Init()
	return errors.Join(errs...)
}
