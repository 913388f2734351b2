// Package elfguard bounds what a damaged ELF file can do to its reader. The files
// belong to the programs that are looked at, and the libraries that read them (of
// Go, of the OpenTelemetry eBPF profiler) are made for files that are whole: of
// others they read outside of slices, or the same place for ever.
package elfguard

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
)

// ErrTooMuch is what reading ends with when a file makes its reader read more than
// it may.
var ErrTooMuch = errors.New("too much is read of it")

// Do runs f and turns a panic into an error that says what was being read. A mapped
// file that its owner truncates raises SIGBUS, which counts as one. Reading that
// should have a bound has it by a Reader.
func Do(what string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		switch p := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("read %s: damaged file: %w", what, p)
		default:
			err = fmt.Errorf("read %s: damaged file: %v", what, p)
		}
	}()
	return f()
}

// MaxRead is how much is read of one file, in bytes, before it is taken to be
// damaged. The largest that was met, node, needs some 3 MB for its unwind tables.
const MaxRead = 512 << 20

// readCost is what a read counts beside its bytes.
const readCost = 256

// Reader reads so many bytes and no more. Beyond that it panics, for Do to make an
// error of it: an error alone doesn't stop a reader that looks at none.
type Reader struct {
	r    io.ReaderAt
	left int64
}

// NewReader returns a Reader of r that reads at most this many bytes.
func NewReader(r io.ReaderAt, most int64) *Reader { return &Reader{r, most} }

// ReadAt implements io.ReaderAt.
func (l *Reader) ReadAt(b []byte, off int64) (int, error) {
	if l.left -= int64(len(b)) + readCost; l.left < 0 {
		panic(ErrTooMuch)
	}
	return l.r.ReadAt(b, off)
}
