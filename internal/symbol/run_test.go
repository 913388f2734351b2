package symbol

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
)

// build runs a compiler or another tool of the tool chain.
func build(t testing.TB, dir, tool string, args ...string) {
	t.Helper()
	cmd := exec.Command(needs.Tool(t, tool), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
}

// source copies a file of testdata to a directory of its own, so that the
// paths in debug information are known.
func source(t testing.TB, name string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// program is a running program of testdata.
type program struct {
	key   event.ProcessKey
	at    uint64 // the address it printed
	stdin io.Closer
	wait  func() error
}

// run starts a program and reads the address it prints. It is ended with the
// test, or by stop.
func run(t testing.TB, path string) *program {
	t.Helper()
	cmd := exec.Command(path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{stdin: stdin, wait: cmd.Wait}
	t.Cleanup(func() { p.stop(t) })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("read the output of %s: %v", path, err)
	}
	p.at, err = strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(line), "0x"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	p.key.PID = uint32(cmd.Process.Pid)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.key.PID))
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := startTime(stat)
	if err != nil {
		t.Fatal(err)
	}
	p.key.Start = ticks*clockTick + 1234567
	return p
}

// stop ends the program and waits until it is gone.
func (p *program) stop(t testing.TB) {
	if p.wait == nil {
		return
	}
	if err := p.stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	p.wait = nil
}

// symbolizer returns one that is closed with the test.
func symbolizer(t testing.TB, o Options) *Symbolizer {
	s := New(o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// locate captures the program and finds the address it printed.
func (p *program) locate(t testing.TB, s *Symbolizer) Location {
	t.Helper()
	proc, err := s.Capture(p.key)
	if err != nil {
		t.Fatal(err)
	}
	loc, ok := proc.Locate(p.at)
	if !ok {
		t.Fatalf("no mapping at %#x", p.at)
	}
	return loc
}

// want makes frames out of the functions' names, whose lines are marked in the
// source with "LINE name". Every function but the last is inlined.
func want(t testing.TB, kind stack.Kind, module, path string, functions ...string) []stack.Frame {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var frames []stack.Frame
	for i, fn := range functions {
		f := stack.Frame{Function: fn, Module: module, Kind: kind, Inlined: i < len(functions)-1}
		if before, _, ok := bytes.Cut(text, []byte("// LINE "+fn+"\n")); ok {
			f.File, f.Line = path, 1+bytes.Count(before, []byte("\n"))
		} else {
			t.Fatalf("no line of %s is marked", fn)
		}
		frames = append(frames, f)
	}
	return frames
}

// resolve returns the frames without their addresses, which must be equal and
// in the module.
func resolve(t testing.TB, s *Symbolizer, loc Location, returning bool) []stack.Frame {
	t.Helper()
	frames, err := s.Frames(loc, returning)
	if err != nil {
		t.Fatal(err)
	}
	frames = append([]stack.Frame(nil), frames...)
	at := frames[0].Address
	for i := range frames {
		if at == 0 || frames[i].Address != at {
			t.Errorf("frame %d: address %#x, that of the first is %#x", i, frames[i].Address, at)
		}
		frames[i].Address = 0
	}
	return frames
}

// noLines takes the lines out of frames and all but the outermost function.
func noLines(frames []stack.Frame) []stack.Frame {
	f := frames[len(frames)-1]
	f.File, f.Line = "", 0
	return []stack.Frame{f}
}
