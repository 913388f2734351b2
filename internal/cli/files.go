package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Files hold other users' addresses and paths: those that are made are for their
// owner alone.
const ownerOnly = 0o600

// output is a file that is written while a command goes on. What was in it stays
// until the first write, and one that was made for nothing is removed: a trace that
// can't begin costs nobody the report of an earlier one.
type output struct {
	file  *os.File
	made  bool // by us
	begun bool
}

// openOutput opens the file at path for writing, or makes it. Links are followed;
// devices and pipes are written as they are.
func openOutput(path string) (*output, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownerOnly)
	if err == nil {
		return &output{file: file, made: true}, nil
	}
	if !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	// O_CREATE for a link to what isn't there yet.
	if file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, ownerOnly); err != nil {
		return nil, err
	}
	return &output{file: file}, nil
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	if !o.begun {
		o.begun = true
		if err := o.empty(); err != nil {
			return 0, err
		}
	}
	return o.file.Write(b)
}

// empty drops what a file held before; of a device there is nothing to drop.
func (o *output) empty() error {
	at, err := o.file.Stat()
	if err != nil || !at.Mode().IsRegular() {
		return err
	}
	return o.file.Truncate(0)
}

// Fd tells a terminal from other files.
func (o *output) Fd() uintptr { return o.file.Fd() }

// Close implements io.Closer.
func (o *output) Close() error {
	err := o.file.Close()
	if o.made && !o.begun {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	return err
}

// replaceFile gives the file at path new contents, all of them or none. Devices,
// pipes, and what else can't be replaced as a whole, are written as they are.
func replaceFile(path string, contents func(io.Writer) error) error {
	at, ok := regularAt(path)
	if !ok {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, ownerOnly)
		if err != nil {
			return err
		}
		return errors.Join(contents(file), file.Close())
	}
	// A name that nobody can foresee: else a link could be waiting there.
	next, err := os.CreateTemp(filepath.Dir(at), ".sockleak-*")
	if err != nil {
		var wrong *os.PathError
		if errors.As(err, &wrong) {
			wrong.Path = at
		}
		return err
	}
	if err := errors.Join(contents(next), next.Close()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), os.Remove(next.Name()))
	}
	if err := os.Rename(next.Name(), at); err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

// regularAt returns where the regular file is that path names, or would name: the
// end of its links. False if something else is there.
func regularAt(path string) (string, bool) {
	at, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return path, true
	}
	if err == nil && at.Mode()&os.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			at, err = os.Lstat(path)
		}
	}
	return path, err == nil && at.Mode().IsRegular()
}

// sameFile reports whether two paths name one file, or would if it were made.
func sameFile(a, b string) bool {
	if a == "" || a == b {
		return a == b && a != ""
	}
	fileA, errA := os.Stat(a)
	fileB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return os.SameFile(fileA, fileB)
	}
	if !errors.Is(errA, os.ErrNotExist) || !errors.Is(errB, os.ErrNotExist) || filepath.Base(a) != filepath.Base(b) {
		return false
	}
	dirA, errA := os.Stat(filepath.Dir(a))
	dirB, errB := os.Stat(filepath.Dir(b))
	return errA == nil && errB == nil && os.SameFile(dirA, dirB)
}
