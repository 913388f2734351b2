package symbol

import "io"

// Object is the ELF file behind a location, for those who read other parts of it
// than names. It can be compared, and is the same in all processes.
type Object struct {
	file *file // nil: the vdso
}

// Object returns the ELF file of a location; false if there is none, or it could
// not be opened.
func (l Location) Object() (Object, bool) {
	switch {
	case l.module == nil || l.module.jit != nil:
		return Object{}, false
	case l.module.vdso:
		return Object{}, true
	}
	return Object{l.module.file}, l.module.file.err == nil
}

// Offset returns where in the file a location is; an address of the process if
// there is no ELF file.
func (l Location) Offset() uint64 { return l.offset }

// Reader returns the content of an ELF file. It can be used until the next call
// of the Symbolizer.
func (s *Symbolizer) Reader(o Object) (io.ReaderAt, error) {
	if o.file != nil {
		return s.files.handle(o.file)
	}
	if s.vdso == nil && s.vdsoErr == nil {
		s.vdso, s.vdsoErr = s.newVDSO()
	}
	if s.vdsoErr != nil {
		return nil, s.vdsoErr
	}
	return s.vdso.r, nil
}
