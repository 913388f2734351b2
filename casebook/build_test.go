package casebook

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// toolchain is what builds and runs the programs of one kind.
type toolchain struct {
	compiler    []string // with its arguments; what it makes is the last of them
	interpreter []string
}

// toolchains are by the ending of the source.
var toolchains = map[string]toolchain{
	// Debian's, because the libraries are those of its packages.
	".py":   {interpreter: []string{"/usr/bin/python3"}},
	".js":   {interpreter: []string{"node"}},
	".rb":   {interpreter: []string{"ruby"}},
	".java": {interpreter: []string{"java"}, compiler: []string{"javac", "-g", "-d", "."}},
	".c":    {compiler: []string{"gcc", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"}},
	".cpp":  {compiler: []string{"g++", "-std=c++20", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"}},
	".rs":   {compiler: []string{"rustc", "--edition=2021", "-O", "-g", "-o"}},
	".go":   {compiler: []string{"go", "build", "-o"}},
}

// missing names what the case needs and the machine hasn't; empty: nothing.
func (c *Case) missing(t testing.TB) string {
	t.Helper()
	chain := toolchains[filepath.Ext(c.path(t))]
	for _, argv := range [][]string{chain.compiler, chain.interpreter} {
		if len(argv) == 0 {
			continue
		}
		if _, err := exec.LookPath(argv[0]); err != nil {
			return argv[0]
		}
	}
	return ""
}

// command builds the program of a case and returns how to run it.
func (c *Case) command(t testing.TB) []string {
	t.Helper()
	source := c.path(t)
	chain, ok := toolchains[filepath.Ext(source)]
	switch {
	case !ok:
		t.Fatalf("%s: no way to build %s", c.Name, c.Source)
	case chain.compiler == nil:
		return append(slices.Clone(chain.interpreter), source)
	case chain.interpreter != nil:
		return append(slices.Clone(chain.interpreter), "-cp", c.compile(t, source, chain.compiler), c.base(source))
	}
	return []string{filepath.Join(c.compile(t, source, append(slices.Clone(chain.compiler), c.base(source))), c.base(source))}
}

// base is the name of the program: that of its source, without the ending.
func (c *Case) base(source string) string {
	if filepath.Ext(source) == ".go" {
		return filepath.Base(filepath.Dir(source))
	}
	return strings.TrimSuffix(filepath.Base(source), filepath.Ext(source))
}

// compile runs a compiler in a folder of its own and returns that folder. What
// it makes is kept in the user's cache, by the content of the source.
func (c *Case) compile(t testing.TB, source string, compiler []string) string {
	t.Helper()
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatalf("%s: read the source: %v", c.Name, err)
	}
	h := sha256.New()
	fmt.Fprintln(h, source, compiler, c.Flags)
	h.Write(text)
	h.Write(c.headers(t, source))
	cache, err := os.UserCacheDir()
	if err != nil { // no HOME
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "sockleak-casebook", hex.EncodeToString(h.Sum(nil)[:8]), c.base(source))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatalf("%s: create the cache: %v", c.Name, err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".work-")
	if err != nil {
		t.Fatalf("%s: create a folder to build in: %v", c.Name, err)
	}
	defer os.RemoveAll(work)
	cmd := exec.Command(compiler[0], append(append(slices.Clone(compiler[1:]), source), c.Flags...)...)
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: build: %v\n%s", c.Name, err, out)
	}
	// Another test may have built the same meanwhile.
	if err := os.Rename(work, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatalf("%s: move what was built into place: %v", c.Name, err)
	}
	return dir
}

// headers is the text of all that the source may include.
func (c *Case) headers(t testing.TB, source string) []byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(source), "*.h"))
	if err != nil {
		t.Fatalf("%s: find the headers: %v", c.Name, err)
	}
	var all []byte
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%s: read a header: %v", c.Name, err)
		}
		all = append(all, text...)
	}
	return all
}

// tool finds a command that cases need and that any machine they run on has.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("find %s: %v; run scripts/setup.sh casebook", name, err)
	}
	return path
}

// buildSockleak builds the command as `make build` does and returns its path.
func buildSockleak(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("make", "-C", "..", "build", "BUILD="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build sockleak: %v\n%s", err, out)
	}
	return filepath.Join(dir, "sockleak")
}
