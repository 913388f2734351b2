package elfguard

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever reading a file does, it ends, and with an error that names the file.
func TestDo(t *testing.T) {
	failed := errors.New("failed")
	var none []byte
	for _, test := range []struct {
		name string
		f    func() error
		want string
	}{
		{"fine", func() error { return nil }, ""},
		{"an error is the caller's", func() error { return failed }, "failed"},
		{"outside of a slice", func() error { return errors.New(string(none[3])) },
			"read the file: damaged file: runtime error: index out of range [3] with length 0"},
		{"for ever", func() error {
			r := NewReader(bytes.NewReader(make([]byte, 64)), 1<<20)
			for b := make([]byte, 1<<10); ; {
				_, _ = r.ReadAt(b, 1000) // as one that looks at no error
			}
		}, "read the file: damaged file: too much is read of it"},
		{"truncated while it is mapped", func() error {
			b := truncated(t)
			return errors.New(string(b[4096]))
		}, "read the file: damaged file: runtime error: invalid memory address or nil pointer dereference"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := Do("the file", test.f); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// truncated maps a file that becomes empty.
func truncated(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mapped")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// A Reader passes on what it is asked for, as long as that isn't too much.
func TestReader(t *testing.T) {
	r := NewReader(bytes.NewReader([]byte("0123456789")), 2*(readCost+4))
	for _, at := range []int64{2, 6} {
		b := make([]byte, 4)
		if n, err := r.ReadAt(b, at); n != 4 || err != nil || string(b) != "0123456789"[at:at+4] {
			t.Errorf("at %d: %d, %v, %q", at, n, err, b)
		}
	}
	err := Do("it", func() error {
		_, err := r.ReadAt(make([]byte, 1), 0)
		return err
	})
	if !errors.Is(err, ErrTooMuch) || errors.Is(err, io.EOF) {
		t.Errorf("beyond: %v", err)
	}
}
