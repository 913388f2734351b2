package symbol

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sockleak/internal/stack"
)

func TestPerfMap(t *testing.T) {
	m, bad := parsePerfMap([]byte("1000 100 old code\n0x1080 0x10 replaced\nnot a line\n3000 0 empty\n" +
		"ffffffffffffff00 200 around the end\n2000 1000 large\n2100 10 inside\n1000 40 new"))
	if bad != 3 {
		t.Errorf("%d bad lines, want 3", bad)
	}
	for addr, want := range map[uint64]string{
		0xfff: "", 0x1000: "new", 0x103f: "new", 0x1040: "old code", 0x1080: "replaced", 0x1090: "old code",
		0x10ff: "old code", 0x1100: "", 0x2000: "large", 0x2100: "inside", 0x2110: "large", 0x2fff: "large", 0x3000: "",
	} {
		if got, ok := m.lookup(addr); got != want || ok != (want != "") {
			t.Errorf("%#x: got %q, %v, want %q", addr, got, ok, want)
		}
	}
}

func FuzzPerfMap(f *testing.F) {
	f.Add("1000 100 name\n0x2000 0x10 other\n", uint64(0x1004))
	f.Fuzz(func(t *testing.T, text string, addr uint64) {
		m, bad := parsePerfMap([]byte(text))
		if n := strings.Count(text, "\n") + 1; len(m.symbols)+bad > n {
			t.Errorf("%d symbols and %d bad lines in %d lines", len(m.symbols), bad, n)
		}
		if name, ok := m.lookup(addr); ok && (name == "" || !strings.Contains(text, name)) {
			t.Errorf("%#x: got %q", addr, name)
		}
	})
}

func TestNameGenerated(t *testing.T) {
	tests := []struct {
		kind stack.Kind
		name string
		want stack.Frame
	}{
		{stack.Node, "JS:*connect file:///srv/app.js:12:5", stack.Frame{Kind: stack.Node, Function: "connect", File: "/srv/app.js", Line: 12}},
		{stack.Node, "LazyCompile:~ /srv/a:b.js:7:1", stack.Frame{Kind: stack.Node, Function: "(anonymous)", File: "/srv/a:b.js", Line: 7}},
		{stack.Node, "JS:^emit node:events:465:44", stack.Frame{Kind: stack.Node, Function: "emit", File: "node:events", Line: 465}},
		{stack.Node, "Builtin:ArrayPush", stack.Frame{Kind: stack.Native, Function: "Builtin:ArrayPush"}},
		{stack.Native, "py::run:/srv/app.py", stack.Frame{Kind: stack.Python, Function: "run", File: "/srv/app.py"}},
		{stack.Java, "Lcom/example/Pool;::open", stack.Frame{Kind: stack.Java, Function: "com.example.Pool.open"}},
		{stack.Java, "void com.example.Pool.open(int)", stack.Frame{Kind: stack.Java, Function: "void com.example.Pool.open(int)"}},
		{stack.Native, "trampoline", stack.Frame{Kind: stack.Native, Function: "trampoline"}},
	}
	for _, test := range tests {
		got := stack.Frame{Kind: test.kind}
		nameGenerated(&got, test.name)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

// Generated code gets its names from the file that is there when they are asked
// for, and after the process ended from what was there last.
func TestGeneratedCode(t *testing.T) {
	dir, src := source(t, "generated.c")
	exe := filepath.Join(dir, "prog")
	build(t, dir, "gcc", "-O2", "-o", exe, src)
	p := run(t, exe)
	path := fmt.Sprintf("/tmp/perf-%d.map", p.key.PID)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	t.Cleanup(func() { _ = os.Remove(path) }) // removed below unless the test failed
	s := symbolizer(t, Options{})
	proc, err := s.Capture(p.key)
	if err != nil {
		t.Fatal(err)
	}
	loc, ok := proc.Locate(p.at)
	if !ok {
		t.Fatalf("no mapping at %#x", p.at)
	}
	want := []stack.Frame{{Address: p.at, Kind: stack.Native}}
	check := func(name string) {
		t.Helper()
		want[0].Function = name
		if got, err := s.Frames(loc, true); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	check("")
	write(fmt.Sprintf("%x 10 stub\n", p.at-1))
	check("stub")
	write(fmt.Sprintf("%x 10 stub\n%x 10 compiled\n", p.at-1, p.at-1))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p.stop(t)
	if err := proc.Close(); err != nil {
		t.Error(err)
	}
	check("compiled")
}
