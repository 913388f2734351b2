package rootfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenInStaysInside(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/hosts", "inside")
	link("/etc/hosts", "absolute")
	link("../../../../../../etc/hosts", "upwards")
	link("/proc/self/fd/0", "magic")
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/hosts", "/etc/hosts", "absolute", "upwards"} {
		f, _, err := OpenIn(root, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(f); string(got) != "inside" || err != nil {
			t.Errorf("%s is %q, %v; want the file inside", name, got, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]error{"fifo": ErrNotRegular, "etc": ErrNotRegular, "magic": os.ErrNotExist, "missing": os.ErrNotExist} {
		if _, _, err := OpenIn(root, name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestIdentityFollowsChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	identity := func(content string) Identity {
		t.Helper()
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, id, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := identity("one")
	if again := identity(""); again != first {
		t.Errorf("unchanged, it is %+v and was %+v", again, first)
	}
	if longer := identity("longer"); longer == first {
		t.Errorf("changed, it is still %+v", longer)
	}
}
