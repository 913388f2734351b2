package procfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestIs32Bit(t *testing.T) {
	const rest = "\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, test := range []struct {
		name, exe string
		want      bool
		err       error
	}{
		{"32 bits", "\x7fELF\x01" + rest, true, nil},
		{"64 bits", "\x7fELF\x02" + rest, false, nil},
		{"no ELF file", "#!/bin/sh\x01\nexit 0\n", false, nil},
		{"too short", "\x7fELF", false, io.ErrUnexpectedEOF},
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "7"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "7", "exe"), []byte(test.exe), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := New(root).Is32Bit(7); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %v, %v; want %v, %v", test.name, got, err, test.want, test.err)
		}
	}
}
