package langtest

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ianlancetaylor/demangle"

	"sockleak/internal/stack"
)

// The functions that a walk ends with which came to the start of a process, of a
// thread, of a goroutine, and of a program of Ruby and one of its threads, where frames
// of Ruby are the last.
const (
	Process    = "_start"
	Thread     = "clone3"
	Goroutine  = "runtime.goexit"
	Ruby       = "<main>"
	RubyThread = "block in <main>"
)

// starts are all of them.
var starts = []string{Process, Thread, Goroutine, Ruby, RubyThread}

// Whole reports whether a walk came to the start of its process, thread or goroutine.
func Whole(frames []stack.Frame) bool {
	if len(frames) == 0 {
		return false
	}
	last := frames[len(frames)-1]
	return slices.ContainsFunc(starts, func(start string) bool { return is(last, start) })
}

// ToStart reports whether a path leads to a start.
func ToStart(functions []string) bool {
	return len(functions) > 0 && slices.Contains(starts, functions[len(functions)-1])
}

// OnPath reports whether functions are on a stack in this order from the innermost. A
// start is the outermost frame.
func OnPath(frames []stack.Frame, functions []string) bool {
	if ToStart(functions) {
		last := len(functions) - 1
		if len(frames) == 0 || !is(frames[len(frames)-1], functions[last]) {
			return false
		}
		frames, functions = frames[:len(frames)-1], functions[:last]
	}
	for _, f := range frames {
		if len(functions) > 0 && f.Function == functions[0] {
			functions = functions[1:]
		}
	}
	return len(functions) == 0
}

// is reports whether a frame is of a start. glibc names that of a thread in its debug
// file alone, which may not be installed.
func is(f stack.Frame, start string) bool {
	return f.Function == start ||
		start == Thread && f.Function == "" && filepath.Base(f.Module) == "libc.so.6"
}

// Code is where the functions of an executable are: the address of the first byte of
// each, and of the first behind it.
type Code map[string][2]uint64

// CodeOf finds functions, or what the compiler made of them (leak_here.isra.0), in an
// executable that has symbols. Those of C++ and Rust have the names of the source, without
// parameters.
func CodeOf(t testing.TB, path string, functions ...string) Code {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatalf("read the symbols of %s: %v", path, err)
	}
	code := Code{}
	for _, name := range functions {
		i := slices.IndexFunc(symbols, func(s elf.Symbol) bool {
			return !strings.HasSuffix(s.Name, ".cold") &&
				demangle.Filter(s.Name, demangle.NoParams, demangle.NoEnclosingParams) == name
		})
		if i < 0 {
			i = slices.IndexFunc(symbols, func(s elf.Symbol) bool {
				return strings.HasPrefix(s.Name, name+".") && !strings.HasSuffix(s.Name, ".cold")
			})
		}
		if i < 0 {
			t.Fatalf("%s has no function %s", path, name)
		}
		code[name] = [2]uint64{symbols[i].Value, symbols[i].Value + symbols[i].Size}
	}
	return code
}

// Function returns the function that a call in it returns to an address of, empty if
// that is none of them.
func (c Code) Function(address uint64) string {
	for name, at := range c {
		if address > at[0] && address <= at[1] {
			return name
		}
	}
	return ""
}

// Name returns the frames of a stack with the names of the functions that are known by
// their addresses alone. exe is the executable that the code is of.
func (c Code) Name(frames []stack.Frame, exe string) []stack.Frame {
	frames = slices.Clone(frames)
	for i, f := range frames {
		if f.Function == "" && f.Module == exe {
			frames[i].Function = c.Function(f.Address)
		}
	}
	return frames
}
