package deepstack

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"go.opentelemetry.io/ebpf-profiler/libpf"

	"sockleak/internal/needs"
)

// A stack that came when the file of one of its frames wasn't known yet is not taken for
// known: the next socket made on it has it sent again.
func TestLackingFileIsAskedForAgain(t *testing.T) {
	needs.Root(t)
	known, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	s := newStacks(4)
	s.known, s.current = known, 7
	file := libpf.NewFrameMapping(libpf.FrameMappingData{File: libpf.NewFrameMappingFile(libpf.FrameMappingFileData{FileName: libpf.Intern("a")})})
	for _, step := range []struct {
		mapping libpf.FrameMapping
		known   bool
	}{{libpf.FrameMapping{}, false}, {file, true}} {
		var frames libpf.Frames
		frames.Append(&libpf.Frame{Type: libpf.NativeFrame, AddressOrLineno: 4, Mapping: step.mapping})
		if err := s.ReportTraceEvent(&libpf.Trace{Frames: frames}, nil); err != nil {
			t.Fatal(err)
		}
		var since uint64
		err := known.Lookup(uint64(7), &since)
		if got := !errors.Is(err, ebpf.ErrKeyNotExist); got != step.known {
			t.Errorf("with a file %v it counts as known: %v", step.mapping.Valid(), got)
		}
	}
}
