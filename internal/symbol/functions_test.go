package symbol

import (
	"debug/elf"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

const named = `
int tail(int n) { return n + 1; }
int long_tail(int n) { return n * 3; }
int only_called(int);
static int hidden(int n) { return n - 7; }
int other(int n) { return hidden(n) + long_tail(tail(n)); }
`

// library builds a shared library with the functions of named.
func library(t *testing.T, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	src, lib := filepath.Join(dir, "named.c"), filepath.Join(dir, "named.so")
	if err := os.WriteFile(src, []byte(named), 0o600); err != nil {
		t.Fatal(err)
	}
	build(t, dir, "gcc", append([]string{"-O0", "-fPIC", "-shared", "-o", lib, src}, flags...)...)
	return lib
}

// bySymbols is what debug/elf says of some functions.
func bySymbols(t *testing.T, path string, names ...string) map[string]uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, s := range symbols {
		for _, name := range names {
			if s.Name == name {
				found[name], _ = FileOffset(f, s.Value)
			}
		}
	}
	return found
}

func TestFunctions(t *testing.T) {
	stripped := library(t, "-s")
	whole := library(t)
	for _, test := range []struct {
		name, path string
		names      []string
		want       []string
	}{
		{"dynamic", stripped, []string{"tail", "other", "hidden"}, []string{"tail", "other"}},
		{"a name within another", whole, []string{"tail", "long_tail"}, []string{"tail", "long_tail"}},
		{"not dynamic", whole, []string{"hidden", "tail"}, []string{"hidden", "tail"}},
		{"the first isn't there", whole, []string{"ail", "tail"}, nil},
		{"none", whole, []string{"nowhere"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := os.Open(test.path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, machine, err := Functions(f, test.path, test.names...)
			if err != nil {
				t.Fatal(err)
			}
			want := bySymbols(t, whole, test.want...)
			if !maps.Equal(got, want) || len(want) != len(test.want) {
				t.Errorf("got %v, want %v of %v", got, want, test.want)
			}
			if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; machine != want {
				t.Errorf("for %s, want %s", machine, want)
			}
		})
	}
}

// What isn't ELF has no functions; what is damaged does no harm.
func TestFunctionsOfDamaged(t *testing.T) {
	whole, err := os.ReadFile(library(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	look := func(content []byte) (map[string]uint64, string, error) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		found, _, err := Functions(f, path, "tail", "other")
		version, verr := GoVersion(f, path)
		if verr != nil {
			t.Error(verr)
		}
		return found, version, err
	}
	for _, content := range []string{"", "#!/bin/sh\n", "\x7fELF", "\x7fELF\x02\x01\x01"} {
		if found, version, err := look([]byte(content)); found != nil || version != "" || err != nil {
			t.Errorf("%q: %v, %q, %v", content, found, version, err)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 500 {
		damaged := append([]byte(nil), whole...)
		for range 1 + random.IntN(40) {
			damaged[random.IntN(len(damaged))] = byte(random.Uint32())
		}
		for range random.IntN(4) { // in the header, or the sections' headers
			damaged[random.IntN(64)] = byte(random.Uint32())
			damaged[len(damaged)-1-random.IntN(1024)] = byte(random.Uint32())
		}
		if offsets, _, _ := look(damaged[:len(damaged)-random.IntN(2)*random.IntN(len(damaged))]); offsets != nil {
			found++
		}
	}
	if found == 0 {
		t.Error("all files were too damaged to say anything")
	}
}

// A file says that it has more than there is room for: with holes it is no larger
// than any other.
func TestFunctionsOfHuge(t *testing.T) {
	if testing.Short() {
		t.Skip("reads as much of a file as may be")
	}
	path := library(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 40
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	image, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	// The names reach to the end of the file.
	for i, s := range image.Sections {
		if s.Name == ".dynstr" {
			var word [8]byte
			image.ByteOrder.PutUint64(word[:], size-s.Offset)
			const sizeField = 32 // of Elf64_Shdr
			var header [64]byte
			if _, err := f.ReadAt(header[:], 0); err != nil {
				t.Fatal(err)
			}
			shoff := int64(image.ByteOrder.Uint64(header[40:]))
			if _, err := f.WriteAt(word[:], shoff+int64(i)*64+sizeField); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found, _, err := Functions(f, path, "tail"); err == nil {
		t.Errorf("found %v without an error", found)
	}
}
