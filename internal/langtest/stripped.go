package langtest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"sockleak/internal/needs"
)

// Stripped compiles a program without symbols into a directory. It returns its path, and
// where its functions are, see CodeOf.
func Stripped(t testing.TB, dir, source string, functions []string, compiler ...string) (exe string, code Code) {
	t.Helper()
	whole, exe := filepath.Join(dir, "whole"), filepath.Join(dir, "native")
	compile := exec.Command(needs.Tool(t, compiler[0]), append(compiler[1:], "-o", whole, source)...)
	for _, cmd := range []*exec.Cmd{compile, exec.Command(needs.Tool(t, "strip"), "-s", "-o", exe, whole)} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("run %v: %v\n%s", cmd, err, out)
		}
	}
	return exe, CodeOf(t, whole, functions...)
}
