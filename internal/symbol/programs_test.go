package symbol

import (
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"sockleak/internal/stack"
)

func TestC(t *testing.T) {
	dir, src := source(t, "inline.c")
	exe := filepath.Join(dir, "prog")
	lines := want(t, stack.Native, exe, src, "innermost", "middle", "outer")
	tests := []struct {
		name  string
		flags []string
		then  func(t *testing.T)
		want  []stack.Frame
	}{
		{name: "dwarf 5", flags: []string{"-O2", "-g"}, want: lines},
		{name: "dwarf 4", flags: []string{"-O2", "-gdwarf-4"}, want: lines},
		{name: "frame pointers", flags: []string{"-O2", "-g", "-fno-omit-frame-pointer"}, want: lines},
		{name: "in a section of its own", flags: []string{"-O2", "-g", "-DUNLIKELY"}, want: lines},
		{name: "static", flags: []string{"-O2", "-g", "-static"}, want: lines},
		{name: "no pie", flags: []string{"-O2", "-g", "-no-pie"}, want: lines},
		{name: "compressed", flags: []string{"-O2", "-g", "-gz=zlib"}, want: lines},
		{name: "symbols only", flags: []string{"-O2"}, want: noLines(lines)},
		{name: "dynamic symbols only", flags: []string{"-O2", "-rdynamic", "-s"}, want: noLines(lines)},
		{name: "nothing", flags: []string{"-O2", "-s"}, want: []stack.Frame{{Module: exe, Kind: stack.Native}}},
		{name: "debug link", flags: []string{"-O2", "-g"}, want: lines, then: func(t *testing.T) {
			separate(t, exe, filepath.Join(dir, "prog.debug"))
		}},
		{name: "debug link in .debug", flags: []string{"-O2", "-g"}, want: lines, then: func(t *testing.T) {
			separate(t, exe, filepath.Join(dir, "prog.debug"))
			sub := filepath.Join(dir, ".debug")
			if err := os.Mkdir(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "prog.debug"), filepath.Join(sub, "prog.debug")); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "debug link, wrong file", flags: []string{"-O2", "-g"}, then: func(t *testing.T) {
			debug := filepath.Join(dir, "prog.debug")
			separate(t, exe, debug)
			build(t, dir, "objcopy", "--remove-section=.comment", debug)
		}, want: []stack.Frame{{Module: exe, Kind: stack.Native}}},
		{name: "build-id", flags: []string{"-O2", "-g", "-Wl,--build-id"}, want: lines, then: func(t *testing.T) {
			byBuildID(t, exe)
		}},
		{name: "mini debug information", flags: []string{"-O2"}, want: noLines(lines), then: func(t *testing.T) {
			mini := filepath.Join(dir, "mini")
			build(t, dir, "objcopy", "-S", "--keep-symbol=outer", exe, mini)
			build(t, dir, "xz", "-f", mini)
			build(t, dir, "strip", exe)
			build(t, dir, "objcopy", "--add-section", ".gnu_debugdata="+mini+".xz", exe)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, old := range []string{"prog", "prog.debug", ".debug"} {
				if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
					t.Fatal(err)
				}
			}
			build(t, dir, "gcc", append(slices.Clone(test.flags), "-o", exe, src)...)
			if test.then != nil {
				test.then(t)
			}
			s := symbolizer(t, Options{})
			got := resolve(t, s, run(t, exe).locate(t, s), true)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// separate moves the debug information of exe to another file and links it.
func separate(t *testing.T, exe, debug string) {
	t.Helper()
	dir := filepath.Dir(exe)
	build(t, dir, "objcopy", "--only-keep-debug", exe, debug)
	build(t, dir, "strip", exe)
	build(t, dir, "objcopy", "--remove-section=.note.gnu.build-id", "--add-gnu-debuglink="+debug, exe)
}

// byBuildID installs the debug information of exe where distributions do.
func byBuildID(t *testing.T, exe string) {
	t.Helper()
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	id, err := buildID(f)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err != nil || len(id) < 2 {
		t.Fatalf("build-id: %x, %v", id, err)
	}
	x := hex.EncodeToString(id)
	dir := filepath.Join(debugRoot, ".build-id", x[:2])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("needs to install a debug file: %v", err)
	}
	debug := filepath.Join(dir, x[2:]+".debug")
	t.Cleanup(func() {
		if err := os.Remove(debug); err != nil {
			t.Error(err)
		}
		_ = os.Remove(dir) // stays when others have files there
	})
	build(t, filepath.Dir(exe), "objcopy", "--only-keep-debug", exe, debug)
	build(t, filepath.Dir(exe), "strip", exe)
}

func TestCXX(t *testing.T) {
	dir, src := source(t, "inline.cc")
	exe := filepath.Join(dir, "prog")
	lines := want(t, stack.Native, exe, src, "net::Pool<int>::grow", "net::Pool<int>::open")
	for _, test := range []struct {
		name  string
		flags []string
		want  []stack.Frame
	}{
		{"debug", []string{"-O2", "-g"}, lines},
		{"symbols", []string{"-O2"}, noLines(lines)},
	} {
		t.Run(test.name, func(t *testing.T) {
			build(t, dir, "g++", append(slices.Clone(test.flags), "-o", exe, src)...)
			s := symbolizer(t, Options{})
			got := resolve(t, s, run(t, exe).locate(t, s), true)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestRust(t *testing.T) {
	dir, src := source(t, "inline.rs")
	exe := filepath.Join(dir, "prog")
	lines := want(t, stack.Native, exe, src, "inline::pool::here", "inline::pool::Pool<T>::open")
	build(t, dir, "rustc", "--edition=2021", "-Copt-level=2", "-Cdebuginfo=2", "-o", exe, src)
	s := symbolizer(t, Options{})
	got := resolve(t, s, run(t, exe).locate(t, s), true)
	if !reflect.DeepEqual(got, lines) {
		t.Errorf("got  %+v\nwant %+v", got, lines)
	}
}

func TestGo(t *testing.T) {
	dir, src := source(t, "inlinego/main.go")
	exe := filepath.Join(dir, "prog")
	lines := want(t, stack.Go, exe, src, "main.inlined", "main.(*pool).open")
	for _, test := range []struct {
		name  string
		flags []string
	}{
		{"debug", nil},
		{"stripped", []string{"-ldflags=-s -w"}},
		{"stripped, pie", []string{"-ldflags=-s -w", "-buildmode=pie"}},
		{"stripped, linked by the C compiler", []string{"-ldflags=-s -w -linkmode=external"}},
		{"stripped, pie, linked by the C compiler", []string{"-ldflags=-s -w -linkmode=external", "-buildmode=pie"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"build"}, test.flags...)
			build(t, dir, "go", append(args, "-o", exe, src)...)
			s := symbolizer(t, Options{})
			got := resolve(t, s, run(t, exe).locate(t, s), true)
			if !reflect.DeepEqual(got, lines) {
				t.Errorf("got  %+v\nwant %+v", got, lines)
			}
		})
	}
}
