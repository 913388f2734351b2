package procfs

import (
	"errors"
	"os"
	"testing"
)

func TestBootID(t *testing.T) {
	const id = "7a1f4c0e-2b3d-4e5f-8a9b-0c1d2e3f4a5b"
	fs := literal(t, map[string]string{"sys/kernel/random/boot_id": id + "\n"})
	if got, err := fs.BootID(); got != id || err != nil {
		t.Errorf("BootID() = %q, %v, want %q", got, err, id)
	}
	if _, err := literal(t, nil).BootID(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v, want one that matches %v", err, os.ErrNotExist)
	}
}
