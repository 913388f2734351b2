package deepstack

import (
	"fmt"
	"slices"
	"strings"
	"unique"

	"go.opentelemetry.io/ebpf-profiler/libpf"

	"sockleak/internal/stack"
)

// Why a stack is not all there.
const (
	reasonEmpty     = "the stack could not be walked"
	reasonUnlearned = "frames of %s are missing: the interpreter could not be read"
	reasonNameless  = "the names of frames could not be read: the process had ended"
)

// origin names the frames of a stack.
func (s *files) origin(frames libpf.Frames) stack.Origin {
	s.naming.Lock()
	defer s.naming.Unlock()
	var o stack.Origin
	var reasons []string
	add := func(reason string) {
		if reason != "" && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	for _, h := range frames {
		f := h.Value()
		switch {
		case f.Type.IsError():
			add(failure(&f))
		case f.Type.IsInterpType(libpf.Kernel):
			// The system call: the same for all.
		case f.Type.IsInterpType(libpf.Native), f.Type.IsInterpType(libpf.Go) && f.Mapping.Valid():
			named, reason := s.native(&f)
			o.Frames = append(o.Frames, named...)
			add(reason)
		default:
			named := interpreted(&f)
			o.Frames = append(o.Frames, named)
			// V8's own frames have no name.
			if named.Function == "" && named.File == "" && named.Kind != stack.Node {
				add(reasonNameless)
			}
		}
	}
	add(unlearned(o.Frames))
	switch {
	case len(o.Frames) == 0:
		o.Quality = stack.None
		add(reasonEmpty)
	case len(reasons) > 0:
		o.Quality = stack.Partial
	default:
		o.Quality = stack.Complete
	}
	o.Reason = strings.Join(reasons, "; ")
	return o
}

// lacksFile reports whether a frame is of a file, and that isn't known.
func lacksFile(h unique.Handle[libpf.Frame]) bool {
	f := h.Value()
	return f.Type.IsInterpType(libpf.Native) && !f.Type.IsError() && !f.Mapping.Valid()
}

// native names a frame of a file, with what is inlined there. The profiler has
// taken one off the return address already. Go is named here too: the profiler's
// own lines for it are those after the call.
func (s *files) native(f *libpf.Frame) ([]stack.Frame, string) {
	addr := uint64(f.AddressOrLineno) + 1
	bare := []stack.Frame{{Address: addr, Kind: stack.Native}}
	if !f.Mapping.Valid() {
		return bare, "the file of a frame is not known: the process had ended"
	}
	file := f.Mapping.Value().File.Value()
	m, name := s.module(file.FileID)
	if name == "" {
		name = file.FileName.String()
	}
	bare[0].Module = name
	if m == nil {
		return bare, ""
	}
	loc, err := s.symbols.At(m, addr-1)
	if err != nil {
		return bare, ""
	}
	// What has no name is still there, so an error takes nothing from the walk.
	named, _ := s.symbols.Frames(loc.Next(), true)
	return named, ""
}

// interpreted is a frame that the profiler named.
func interpreted(f *libpf.Frame) stack.Frame {
	out := stack.Frame{
		Function: f.FunctionName.String(), File: f.SourceFile.String(), Line: int(f.SourceLine),
		Kind: kind(f.Type), Address: uint64(f.AddressOrLineno),
	}
	if f.Mapping.Valid() {
		out.Module = f.Mapping.Value().File.Value().FileName.String()
	}
	switch out.Kind {
	case stack.Node:
		out.File = strings.TrimPrefix(out.File, "file://")
	case stack.Java:
		out.Function = javaName(out.Function)
	}
	return out
}

// javaName is a method without its types: "int org.Example.run(int)" is
// org.Example.run.
func javaName(signature string) string {
	name, _, ok := strings.Cut(signature, "(")
	if !ok || name == "" || strings.HasSuffix(name, " ") {
		return signature // a stub of the VM
	}
	return name[strings.LastIndexByte(name, ' ')+1:]
}

func kind(t libpf.FrameType) stack.Kind {
	switch t.Interpreter() {
	case libpf.Python:
		return stack.Python
	case libpf.V8:
		return stack.Node
	case libpf.HotSpot:
		return stack.Java
	case libpf.Ruby:
		return stack.Ruby
	case libpf.Go:
		return stack.Go
	case libpf.Native, libpf.Kernel:
		return stack.Native
	}
	return stack.Kind(t.String())
}

// failure says in words why the profiler gave up; the numbers are those of
// tools/errors-codegen/errors.json in its source.
func failure(f *libpf.Frame) string {
	switch code := uint64(f.AddressOrLineno); {
	case code == 2 || code == 5:
		return "the stack is deeper than what can be walked"
	case code == 4000 || code == 4012 || code == 4018:
		return fmt.Sprintf("the walk came to code that was not known yet, or that has no unwind information (profiler error %d)", code)
	case code == 4005:
		return "the walk came to a function without unwind information"
	case code >= 4007 && code <= 4020:
		return fmt.Sprintf("the walk went astray (profiler error %d)", code)
	default:
		return fmt.Sprintf("frames of %s could not be read (profiler error %d)", f.Type.Interpreter(), code)
	}
}

// unlearned says which language is missing from a stack that went through its
// interpreter: at the first sockets of an interpreter that was just started.
func unlearned(frames []stack.Frame) string {
	if name := stack.MissingLanguage(frames); name != "" {
		return fmt.Sprintf(reasonUnlearned, name)
	}
	return ""
}
