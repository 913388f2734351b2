// Package workload builds and runs programs whose sockets are known: some leak
// in a known function, some are healthy, some do to descriptors exactly what
// they are told. Tests of the tracer run against them.
//
// The programs are C files in testdata; the comment at the top of each says
// what it does and which commands it takes.
package workload

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sockleak/internal/needs"
)

//go:embed testdata/*.c testdata/*.h testdata/*.py testdata/*.js
var sources embed.FS

// flags are those of a release build that can be profiled. The last three make
// the warnings of a test program as fatal as those of the product.
var flags = []string{"-O2", "-g", "-fno-omit-frame-pointer", "-pthread", "-Wall", "-Wextra", "-Werror"}

// bare is where programs without frame pointers are, below those with them, so
// that both go by the same name.
const bare = "bare"

// marker stands in the source on the line that leaks.
const marker = "/* LEAK */"

// builtVar names the directory that holds the programs, for machines that have
// no compiler: the virtual machines of scripts/test-kernels.sh.
const builtVar = "SOCKLEAK_PROGRAMS"

// Build compiles the program testdata/NAME.c and returns the path of the
// executable, whose base name is NAME. Executables are kept in the user's
// cache directory, by the content of the sources, so that only the first of
// many test binaries compiles. Where the variable SOCKLEAK_PROGRAMS names a
// directory they are taken from there. Without a C compiler the test is skipped, but
// fails where CI is set, because CI is there to run it.
func Build(t testing.TB, name string) string {
	t.Helper()
	return build(t, "", name, flags)
}

// BuildBare is Build without frame pointers, which only unwind tables lead through.
func BuildBare(t testing.TB, name string) string {
	t.Helper()
	return build(t, bare, name, append(slices.Clone(flags), "-fomit-frame-pointer"))
}

// build compiles to, or finds in, a directory below that of all programs.
func build(t testing.TB, below, name string, flags []string) string {
	t.Helper()
	if dir := os.Getenv(builtVar); dir != "" {
		return filepath.Join(dir, below, name)
	}
	gcc := needs.Tool(t, "gcc")
	key, err := sourceHash(gcc, flags)
	if err != nil {
		t.Fatalf("hash the test programs: %v", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil { // no HOME
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "sockleak-workload", key, name)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := compile(gcc, flags, dir, name); err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return path
}

// Script writes the program testdata/NAME, a script for the interpreter, to a
// directory of the test and returns the paths of both. The test is skipped, or
// fails in CI, where there is no such interpreter.
func Script(t testing.TB, interpreter, name string) (interpreterPath, script string) {
	t.Helper()
	interpreterPath = needs.Tool(t, interpreter)
	dir := t.TempDir()
	if err := writeSources(dir); err != nil {
		t.Fatalf("write the test programs: %v", err)
	}
	return interpreterPath, filepath.Join(dir, name)
}

// LeakLine returns the line of testdata/NAME.c, counted from 1, on which the
// program makes the sockets that it leaks.
func LeakLine(t testing.TB, name string) int {
	t.Helper()
	text, err := sources.ReadFile("testdata/" + name + ".c")
	if err != nil {
		t.Fatalf("read the source of %s: %v", name, err)
	}
	return lineOf(t, name+".c", string(text), marker)
}

// Line returns the line of a source file, counted from 1, that has a text first.
func Line(t testing.TB, path, text string) int {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return lineOf(t, path, string(source), text)
}

func lineOf(t testing.TB, name, source, text string) int {
	t.Helper()
	before, _, found := strings.Cut(source, text)
	if !found {
		t.Fatalf("%s has no %q", name, text)
	}
	return strings.Count(before, "\n") + 1
}

// sourceHash covers all that decides what comes out of the compiler, headers
// included, in one key for all programs.
func sourceHash(gcc string, flags []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, gcc, flags, runtime.GOARCH)
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:8]), err
}

// compile builds in a directory of its own and moves it into place as a whole,
// because test binaries of several packages may build the same program at
// once. The sources stay there: debug information names them.
func compile(gcc string, flags []string, dir, name string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("create the cache: %w", err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "."+name+"-")
	if err != nil {
		return fmt.Errorf("create a build directory: %w", err)
	}
	defer os.RemoveAll(work)
	// Another user may have to read symbols from here.
	if err := os.Chmod(work, 0o755); err != nil {
		return fmt.Errorf("open the build directory to others: %w", err)
	}
	if err := writeSources(work); err != nil {
		return err
	}
	cmd := exec.Command(gcc, append(slices.Clone(flags), "-fdebug-prefix-map="+work+"="+dir, "-o", name, name+".c")...)
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run gcc: %w\n%s", err, out)
	}
	if err := os.Rename(work, dir); err != nil {
		if _, statErr := os.Stat(filepath.Join(dir, name)); statErr == nil {
			return nil // somebody else was faster
		}
		return fmt.Errorf("move %s into place: %w", name, err)
	}
	return nil
}

func writeSources(dir string) error {
	programs, err := fs.Sub(sources, "testdata")
	if err != nil {
		return fmt.Errorf("open the sources: %w", err)
	}
	if err := os.CopyFS(dir, programs); err != nil {
		return fmt.Errorf("write the sources: %w", err)
	}
	return nil
}
