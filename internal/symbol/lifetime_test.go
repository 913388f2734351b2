package symbol

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// compiled builds the C program and returns what its address resolves to.
func compiled(t testing.TB) (exe string, lines []stack.Frame) {
	t.Helper()
	dir, src := source(t, "inline.c")
	exe = filepath.Join(dir, "prog")
	build(t, dir, "gcc", "-O2", "-g", "-o", exe, src)
	return exe, want(t, stack.Native, exe, src, "innermost", "middle", "outer")
}

func TestProcessGone(t *testing.T) {
	exe, lines := compiled(t)
	s := symbolizer(t, Options{})
	p := run(t, exe)
	loc := p.locate(t, s)
	p.stop(t)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	if got := resolve(t, s, loc, true); !reflect.DeepEqual(got, lines) {
		t.Errorf("got  %+v\nwant %+v", got, lines)
	}
	if _, err := s.Capture(p.key); !errors.Is(err, ErrGone) {
		t.Errorf("capture: got %v, want %v", err, ErrGone)
	}
}

func TestDeletedBefore(t *testing.T) {
	exe, lines := compiled(t)
	p := run(t, exe)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	for i := range lines {
		lines[i].Module += deletedMark
	}
	s := symbolizer(t, Options{})
	if got := resolve(t, s, p.locate(t, s), true); !reflect.DeepEqual(got, lines) {
		t.Errorf("got  %+v\nwant %+v", got, lines)
	}
}

func TestOtherProcess(t *testing.T) {
	s := symbolizer(t, Options{})
	key := event.ProcessKey{PID: uint32(os.Getpid()), Start: 1}
	if _, err := s.Capture(key); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want %v", err, ErrGone)
	}
}

// With room for one open file, all others are opened again when needed, and one
// that was replaced meanwhile is told from the old one.
func TestFewFiles(t *testing.T) {
	exe, lines := compiled(t)
	s := symbolizer(t, Options{OpenFiles: 1, ParsedFiles: 1})
	p := run(t, exe)
	loc := p.locate(t, s)
	if n := s.files.open.Len(); n != 1 {
		t.Errorf("%d files are open, want 1", n)
	}
	if got := resolve(t, s, loc, true); !reflect.DeepEqual(got, lines) {
		t.Errorf("got  %+v\nwant %+v", got, lines)
	}
	clear(s.cache)
	if err := s.files.close(); err != nil {
		t.Fatal(err)
	}
	p.stop(t)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := s.Frames(loc, true)
	if len(got) != 1 || got[0].Module != exe || got[0].Function != "" {
		t.Errorf("got %+v", got)
	}
	if err == nil || !strings.Contains(err.Error(), "the file is gone") {
		t.Errorf("got %v", err)
	}
}

func TestVDSO(t *testing.T) {
	s := symbolizer(t, Options{})
	p, err := s.Capture(event.ProcessKey{PID: uint32(os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.maps {
		if p.maps[i].path != "[vdso]" {
			continue
		}
		img, err := s.newVDSO()
		if err != nil {
			t.Fatal(err)
		}
		img.load()
		entry := img.syms.entries[len(img.syms.entries)-1]
		loc, _ := p.Locate(p.maps[i].start + entry.value)
		want := []stack.Frame{{Function: img.syms.best(len(img.syms.entries) - 1), Module: "[vdso]", Address: entry.value, Kind: stack.Native}}
		if got, err := s.Frames(loc, false); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		return
	}
	t.Skip("needs a vdso: this kernel gives programs none")
}

// Files that are cut off or overwritten give errors, never a panic.
func TestDamagedFiles(t *testing.T) {
	exe, _ := compiled(t)
	whole, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "damaged")
	for seed := range uint32(400) {
		b := append([]byte(nil), whole...)
		x := seed*2654435761 + 1
		for range 40 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			b[x%uint32(len(b))] = byte(x >> 24)
		}
		copy(b, whole[:64]) // else most would not be ELF files at all
		if seed%4 == 0 {
			b = b[:x%uint32(len(b))]
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if img, err := newImage(f, path, 0); err == nil {
			for addr := uint64(0x1000); addr < 0x1400; addr += 0x10 {
				if frames, _ := img.frames(addr, addr); len(frames) == 0 {
					t.Errorf("seed %d: no frame at %#x", seed, addr)
				}
			}
			img.close()
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A file whose owner cuts it off while its debug information is mapped.
func TestTruncatedWhileMapped(t *testing.T) {
	exe, _ := compiled(t)
	f, err := os.OpenFile(exe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := newImage(f, exe, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer img.close()
	img.load()
	start := img.symbolNamed("outer")
	if start == 0 {
		t.Fatal("no symbol outer")
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	frames, err := img.frames(start, start)
	if err == nil || len(frames) != 1 {
		t.Errorf("got %+v, %v, want one frame and an error", frames, err)
	}
}

func BenchmarkFrames(b *testing.B) {
	exe, _ := compiled(b)
	p := run(b, exe)
	b.Run("cached", func(b *testing.B) {
		s := symbolizer(b, Options{})
		loc := p.locate(b, s)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Frames(loc, true); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parsed", func(b *testing.B) {
		s := symbolizer(b, Options{})
		loc := p.locate(b, s)
		for b.Loop() {
			clear(s.cache)
			if _, err := s.Frames(loc, true); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			s := New(Options{})
			if _, err := s.Frames(p.locate(b, s), true); err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCapture(b *testing.B) {
	exe, _ := compiled(b)
	p := run(b, exe)
	s := symbolizer(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Capture(p.key); err != nil {
			b.Fatal(err)
		}
	}
}
