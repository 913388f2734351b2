package framepointer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// walked is a running program that printed a stack of its own.
type walked struct {
	exe, src string
	raw      stack.Raw
	stdin    io.Closer
	wait     func() error
}

func (w *walked) stop(t testing.TB) {
	if w.wait == nil {
		return
	}
	if err := w.stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := w.wait(); err != nil {
		t.Error(err)
	}
	w.wait = nil
}

// walk compiles walk.c with flags and runs it.
func walk(t testing.TB, flags ...string) *walked {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: the program looks for instructions")
	}
	needs.Tool(t, "gcc")
	dir := t.TempDir()
	w := &walked{exe: filepath.Join(dir, "walk"), src: filepath.Join(dir, "walk.c")}
	text, err := os.ReadFile("testdata/walk.c")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.src, text, 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-g", "-O2", "-fno-ipa-cp", "-fno-ipa-sra", "-o", w.exe, w.src}, flags...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	cmd := exec.Command(w.exe)
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
	w.stdin, w.wait = stdin, cmd.Wait
	t.Cleanup(func() { w.stop(t) })
	w.raw = stack.Raw{ID: 7, Process: event.ProcessKey{PID: uint32(cmd.Process.Pid)}, Addresses: make([]uint64, 2)}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "%x %x %x", &w.raw.Caller, &w.raw.Addresses[0], &w.raw.Addresses[1]); err != nil {
		t.Fatal(err)
	}
	return w
}

// at is the frame of a function whose line is marked in the source.
func (w *walked) at(t testing.TB, function string) stack.Frame {
	t.Helper()
	text, err := os.ReadFile(w.src)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := bytes.Cut(text, []byte("// LINE "+function+"\n"))
	if !ok {
		t.Fatalf("no line of %s is marked", function)
	}
	return stack.Frame{Function: function, Module: w.exe, File: w.src, Line: 1 + bytes.Count(before, []byte("\n")), Kind: stack.Native}
}

func newResolver(t testing.TB) *Resolver {
	return New(newSymbolizer(t), nothing)
}

func newSymbolizer(t testing.TB) *symbol.Symbolizer {
	s := symbol.New(symbol.Options{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// normal leaves out what differs between machines: addresses, and where libc is.
func normal(o stack.Origin) stack.Origin {
	o.Frames = slices.Clone(o.Frames)
	for i := range o.Frames {
		f := &o.Frames[i]
		f.Address = 0
		if strings.Contains(f.Module, "/libc") {
			f.Module, f.File, f.Line = "libc", "", 0
		}
	}
	return o
}

func check(t testing.TB, got, want stack.Origin) {
	t.Helper()
	if got = normal(got); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCaller(t *testing.T) {
	libc := stack.Frame{Function: "socket", Module: "libc", Kind: stack.Native}
	symbols := newSymbolizer(t)
	for _, test := range []struct {
		name  string
		flags []string
	}{
		{"through the linkage table", []string{"-DCALL(type)=socket(AF_INET, type, 0)"}},
		{"linked when the program starts", []string{"-DCALL(type)=socket(AF_INET, type, 0)", "-Wl,-z,now", "-fcf-protection"}},
		{"without a linkage table", []string{"-DCALL(type)=socket(AF_INET, type, 0)", "-fno-plt"}},
		{"through a wrapper that jumps", []string{"-DCALL=wrapper"}},
		{"static", []string{"-DCALL(type)=socket(AF_INET, type, 0)", "-static"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := walk(t, test.flags...)
			r := New(symbols, nothing)
			r.Capture(w.raw)
			first := libc
			if slices.Contains(test.flags, "-static") {
				first.Module = w.exe
			}
			want := stack.Origin{Quality: stack.Partial, Reason: reasonWalk, Frames: []stack.Frame{first, w.at(t, "leak"), w.at(t, "work")}}
			check(t, r.Resolve(w.raw.Process, w.raw.ID), want)
		})
	}
}

func TestResolve(t *testing.T) {
	w := walk(t, "-DCALL(type)=socket(AF_INET, type, 0)")
	libc := stack.Frame{Function: "socket", Module: "libc", Kind: stack.Native}
	leak, work := w.at(t, "leak"), w.at(t, "work")
	partial := func(reason string, frames ...stack.Frame) stack.Origin {
		return stack.Origin{Quality: stack.Partial, Reason: reason, Frames: frames}
	}
	tests := []struct {
		name   string
		change func(*stack.Raw)
		want   stack.Origin
	}{
		{"caller not read", func(r *stack.Raw) { r.Caller = 0 }, partial(reasonWalk, libc, work)},
		{"caller is no code", func(r *stack.Raw) { r.Caller = 0x1234 }, partial(reasonWalk, libc, work)},
		{"caller not after a call", func(r *stack.Raw) { r.Caller++ }, partial(reasonWalk, libc, work)},
		{"caller walked", func(r *stack.Raw) { r.Addresses[1] = r.Caller }, partial(reasonWalk, libc, leak)},
		{"first function has a frame", func(r *stack.Raw) { r.Addresses[0] = r.Addresses[1] }, partial(reasonWalk, work, work)},
		{"garbage", func(r *stack.Raw) { r.Addresses = append(r.Addresses, 0xdead0000dead, r.Addresses[1]) },
			partial(reasonWalk+"; "+reasonGarbage, libc, leak, work)},
		{"deep", func(r *stack.Raw) { r.Truncated = true }, partial(reasonWalk+"; "+reasonDeeper, libc, leak, work)},
		{"empty", func(r *stack.Raw) { r.Addresses = nil }, stack.Origin{Quality: stack.None, Reason: reasonEmpty}},
		{"astray", func(r *stack.Raw) { r.Addresses[0] = 1 }, stack.Origin{Quality: stack.None, Reason: reasonAstray}},
		{"gone", func(r *stack.Raw) { r.Process.Start = 1 },
			stack.Origin{Quality: stack.None, Reason: "the process ended before its memory map could be read"}},
	}
	symbols := newSymbolizer(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw := w.raw
			raw.Addresses = slices.Clone(raw.Addresses)
			test.change(&raw)
			r := New(symbols, nothing)
			r.Capture(raw)
			for range 2 {
				check(t, r.Resolve(raw.Process, raw.ID), test.want)
			}
			check(t, r.Resolve(raw.Process, raw.ID+1), stack.Origin{Quality: stack.None, Reason: reasonLost})
		})
	}
}

// A stack resolves after its process has gone, and after exec.
func TestForget(t *testing.T) {
	w := walk(t, "-DCALL(type)=socket(AF_INET, type, 0)")
	r := newResolver(t)
	r.Capture(w.raw)
	r.Exec(w.raw.Process)
	second := w.raw
	second.ID++
	r.Capture(second)
	w.stop(t)
	r.Forget(w.raw.Process)
	if len(r.procs) != 0 {
		t.Errorf("%d processes are left", len(r.procs))
	}
	if len(r.traces) != 1 {
		t.Errorf("%d stacks are held, want one that both share", len(r.traces))
	}
	libc := stack.Frame{Function: "socket", Module: "libc", Kind: stack.Native}
	want := stack.Origin{Quality: stack.Partial, Reason: reasonWalk, Frames: []stack.Frame{libc, w.at(t, "leak"), w.at(t, "work")}}
	for id := range uint64(2) {
		check(t, r.Resolve(w.raw.Process, w.raw.ID+id), want)
	}
}

// Stacks of processes that ended make room for new ones, and nothing else does.
func TestBound(t *testing.T) {
	r := newResolver(t)
	r.max = 4
	self := event.ProcessKey{PID: uint32(os.Getpid())}
	gone := event.ProcessKey{PID: self.PID, Start: 1}
	capture := func(p event.ProcessKey, id uint64) { r.Capture(stack.Raw{ID: id, Process: p, Addresses: []uint64{id}}) }
	for id := uint64(1); id <= 3; id++ {
		capture(gone, id)
	}
	for id := uint64(1); id <= 5; id++ {
		capture(self, id)
	}
	reason := func(p event.ProcessKey, id uint64) string { return r.Resolve(p, id).Reason }
	got := []string{reason(gone, 1), reason(self, 1), reason(self, 4), reason(self, 5)}
	full := "no room for its stack: 4 are held already"
	if want := []string{full, reasonAstray, reasonAstray, full}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(r.stacks) != 4 || len(r.ended) != 0 {
		t.Errorf("%d stacks and %d ended processes are held", len(r.stacks), len(r.ended))
	}
}

// A process that was gone when it was first looked at is let go of in time, though
// nobody tells of its end: then its stacks make room.
func TestBoundOfRecalled(t *testing.T) {
	r := New(newSymbolizer(t), func(event.ProcessKey) []symbol.Mapping { return []symbol.Mapping{{Start: 0x1000, End: 0x2000}} })
	r.max = 4 * maxRecalled
	for start := range uint64(10 * maxRecalled) {
		p := event.ProcessKey{PID: uint32(os.Getpid()), Start: 1 + start}
		for id := range uint64(2) {
			r.Capture(stack.Raw{ID: 1 + id, Process: p, Addresses: []uint64{0x1000}})
		}
		if o := r.Resolve(p, 2); len(o.Frames) != 1 {
			t.Fatalf("process %d: %+v", start, o)
		}
	}
	if len(r.procs) != maxRecalled || len(r.gone) != maxRecalled || len(r.stacks) > r.max || len(r.ended) > r.max {
		t.Errorf("%d processes, %d of them gone, %d stacks and %d ended processes are held", len(r.procs), len(r.gone), len(r.stacks), len(r.ended))
	}
}

func BenchmarkCapture(b *testing.B) {
	w := walk(b, "-DCALL(type)=socket(AF_INET, type, 0)")
	r := newResolver(b)
	raw := w.raw
	b.ReportAllocs()
	for b.Loop() {
		raw.ID++
		r.Capture(raw)
		if raw.ID%10000 == 0 {
			r.Forget(raw.Process)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	w := walk(b, "-DCALL(type)=socket(AF_INET, type, 0)")
	r := newResolver(b)
	r.Capture(w.raw)
	b.ReportAllocs()
	for b.Loop() {
		if o := r.Resolve(w.raw.Process, w.raw.ID); o.Quality != stack.Partial {
			b.Fatal(o)
		}
	}
}

// nothing is known of processes that are gone.
func nothing(event.ProcessKey) []symbol.Mapping { return nil }
