package deepstack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/process"

	"sockleak/internal/elfguard"
)

// promising is a copy of an ELF file whose last sections end far behind its end.
func promising(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	programs, size, count := le.Uint64(b[32:]), uint64(le.Uint16(b[54:])), uint64(le.Uint16(b[56:]))
	for i := range count {
		p := b[programs+i*size:]
		le.PutUint64(p[32:], 1<<40) // p_filesz
		le.PutUint64(p[40:], 1<<40) // p_memsz
	}
	return b
}

// The tables of a damaged file end the reading of it, and nothing else: whatever it
// promises, the profiler gets an error, or what there is.
func TestDamagedTables(t *testing.T) {
	whole := promising(t)
	for _, end := range []int{len(whole), len(whole) / 2, len(whole) / 3, 0x2000, 0x400} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			open := func() (*pfelf.File, error) {
				return pfelf.NewFile(elfguard.NewReader(bytes.NewReader(whole[:end]), elfguard.MaxRead), 0, false)
			}
			ref := pfelf.NewReferenceWithOpenFunc("damaged", pfelf.SystemOpener, open)
			_, _ = newProvider().GetIntervalDataForFile(ref) // an error is as good
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("cut after %d bytes: still reading", end)
		}
	}
}

// The files of a process are read within bounds, and not mapped: what is no *os.File
// the profiler doesn't map.
func TestGuarded(t *testing.T) {
	pid := libpf.PID(os.Getpid())
	pr := guarded{process.New(pid, pid)}
	var f process.ReadAtCloser
	var failed error
	if _, err := pr.IterateMappings(func(m process.RawMapping) bool {
		if f == nil && m.IsExecutable() && !m.IsAnonymous() && !m.IsVDSO() {
			f, failed = pr.OpenMappingFile(&m)
		}
		return true
	}); err != nil || failed != nil || f == nil {
		t.Fatalf("open a mapped file of this process: %v, %v", err, failed)
	}
	defer f.Close()
	if _, mapped := f.(*os.File); mapped {
		t.Error("the profiler would map the file")
	}
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil || string(head) != elf.ELFMAG {
		t.Errorf("read %q, %v", head, err)
	}
	err := elfguard.Do("it", func() error {
		for b := make([]byte, 1<<20); ; {
			if _, err := f.ReadAt(b, 0); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, elfguard.ErrTooMuch) {
		t.Errorf("reading for ever: %v", err)
	}
}
