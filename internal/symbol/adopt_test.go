package symbol

import (
	"debug/elf"
	"os"
	"testing"

	"sockleak/internal/stack"
)

// A file that was opened by somebody else, named by a virtual address of it.
func TestAdopt(t *testing.T) {
	exe, lines := compiled(t)
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	var start uint64
	for _, s := range symbols {
		if s.Name == "main" {
			start = s.Value
		}
	}
	if start == 0 {
		t.Fatalf("%s has no main; its frames are %v", exe, lines)
	}
	s := New(Options{})
	defer s.Close()
	var modules []*Module
	for range 2 { // the same file again is the same module
		h, err := os.Open(exe)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Adopt(Mapped{PID: uint32(os.Getpid()), Path: exe}, h)
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, m)
	}
	if modules[0] != modules[1] || modules[0].Path() != exe {
		t.Errorf("modules %p and %p of %s", modules[0], modules[1], modules[0].Path())
	}
	loc, err := s.At(modules[0], start)
	if err != nil {
		t.Fatal(err)
	}
	frames, err := s.Frames(loc.Next(), true)
	if err != nil || len(frames) == 0 || frames[len(frames)-1].Function != "main" {
		t.Errorf("frames %+v, %v; want main", frames, err)
	}
	if last := frames[len(frames)-1]; last.Kind != stack.Native || last.Address != start+1 {
		t.Errorf("frame %+v, want a native one at %#x", last, start+1)
	}
	if _, err := s.At(modules[0], 1<<50); err == nil {
		t.Error("an address that is in no segment has a location")
	}
}
