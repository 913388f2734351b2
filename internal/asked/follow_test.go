package asked

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/rootfile"
	"sockleak/internal/symbol"
)

// mapped returns the executable mapping that this process has of a file.
func mapped(t *testing.T, path string) symbol.Mapping {
	t.Helper()
	maps, err := symbol.Mappings(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Path == path {
			return m
		}
	}
	t.Fatalf("%s is not mapped", path)
	return symbol.Mapping{}
}

// A mapped file that is written to has the same numbers in /proc/PID/maps, and
// something else in it.
func TestWrittenFile(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	f := &follower{own: &objects{}, files: map[rootfile.Identity]contents{}}
	look := func(text []byte) contents {
		t.Helper()
		if err := os.WriteFile(path, text, 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		code, err := unix.Mmap(int(file.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(code)
		m := mapped(t, path)
		open, id, err := symbol.OpenMapped(symbol.Mapped{PID: uint32(os.Getpid()), Start: m.Start, End: m.End, Inode: m.Inode, Path: m.Path})
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		has, err := f.contents(open, id)
		if err != nil {
			t.Fatal(err)
		}
		return has
	}
	if look(program).golang == nil {
		t.Error("this program is not taken for one of Go")
	}
	if has := look([]byte("no program any more")); has != (contents{}) {
		t.Errorf("after it was written to: %+v", has)
	}
}

// What waits when tracing ends is dropped: attaching takes longer than anybody
// wants to wait after Ctrl-C.
func TestCloseDrops(t *testing.T) {
	f := &follower{own: &objects{}, files: map[rootfile.Identity]contents{}, requests: make(chan request, 1)}
	f.requests <- request{pid: uint32(os.Getpid())}
	f.closing.Store(true)
	close(f.requests)
	f.run()
	if len(f.files) > 0 {
		t.Errorf("%d files were looked at", len(f.files))
	}
}
