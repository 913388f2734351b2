package asked

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
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

// A damaged file is read, and told of, once: a process can map it again and again.
func TestDamaged(t *testing.T) {
	exe, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	sections, size, names := le.Uint64(exe[40:]), uint64(le.Uint16(exe[58:])), uint64(le.Uint16(exe[62:]))
	for i := range uint64(le.Uint16(exe[60:])) {
		s := exe[sections+i*size:]
		if le.Uint32(s[4:]) == uint32(elf.SHT_STRTAB) && i != names {
			le.PutUint64(s[24:], 1<<40) // where the names of symbols are
		}
	}
	path := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(path, exe, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := &follower{own: &objects{}, files: map[rootfile.Identity]contents{}}
	if _, err := f.contents(file, rootfile.Identity{}); err == nil {
		t.Error("no error at first")
	}
	if has, err := f.contents(file, rootfile.Identity{}); err != nil || has != (contents{}) {
		t.Errorf("then %+v, %v", has, err)
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

// A file that can't be opened is told of: it may be the one with libuv.
func TestUnopened(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for path, told := range map[string]bool{exe: true, "/dev/null": false} {
		f := &follower{own: &objects{}, files: map[rootfile.Identity]contents{}}
		pid := uint32(os.Getpid())
		// No mapping is there, and so the path is left, of another file.
		f.note(pid, f.look(pid, &symbol.Mapping{Start: 0x1000, End: 0x2000, Inode: 1, Path: path}))
		if got := f.status.Err != nil; got != told {
			t.Errorf("%s: %v", path, f.status.Err)
		}
	}
}

// Who runs out of descriptors is told how many it takes.
func TestTooFewDescriptors(t *testing.T) {
	f := &follower{}
	f.note(7, fmt.Errorf("attach: %w", unix.EMFILE))
	const want = "process 7: attach: too many open files: a process takes two for each uprobe, raise the limit with ulimit -n 65536 before starting sockleak"
	if got := f.status.Err; got == nil || got.Error() != want || !errors.Is(got, unix.EMFILE) {
		t.Errorf("got %v, want %s", got, want)
	}
}

// A process whose end nobody told of is let go of.
func TestEndUntold(t *testing.T) {
	needs.Root(t)
	p := handles(t, 1)
	k := trace(t, Budget{}, p)
	k.log(t, p)
	if !k.has(t, p) {
		t.Fatal("it is not attached to")
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	k.waitGone(t, p)
	if err := k.Status().Err; err != nil {
		t.Error(err)
	}
}

// has reports whether a program is attached to.
func (k *traced) has(t *testing.T, p *program) bool {
	t.Helper()
	var one uint8
	err := k.own.Attached.Lookup(p.pid, &one)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// waitGone waits until a program that was killed is let go of.
func (k *traced) waitGone(t *testing.T, p *program) {
	t.Helper()
	for deadline := time.Now().Add(10 * sweepEvery); k.has(t, p); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is still attached to")
		}
	}
}
