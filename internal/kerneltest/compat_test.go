package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// compatProgram is testdata/compat, built for 32 bits.
func compatProgram(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("SOCKLEAK_PROGRAMS"); dir != "" {
		return filepath.Join(dir, "compat")
	}
	path := filepath.Join(t.TempDir(), "compat")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/compat")
	arch := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build compat: %v\n%s", err, out)
	}
	return path
}

// Test32Bit: the sockets of a 32-bit program are found by snapshots, and the
// report says what is not seen of it.
func Test32Bit(t *testing.T) {
	needs.Root(t)
	path := compatProgram(t)
	if err := exec.Command(path).Run(); err != nil && needs.Virtual() {
		t.Fatalf("this kernel runs no 32-bit program: %v", err)
	} else if err != nil {
		t.Skipf("this kernel runs no 32-bit program: %v", err)
	}
	p := workload.Start(t, path)
	p.Ready()
	p.Do("leak")
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID))
	for range rounds {
		p.Do("leak")
		p.Do("churn")
	}
	want := []leak{{verdict.NeverUsed, rounds + 1, "none"}}
	k.until("the leaks are found", func(r *verdict.Report) bool { return slices.Equal(leaks(r, "compat"), want) })
	r, _ := k.end()
	if got := leaks(r, "compat"); !slices.Equal(got, want) || r.Totals.Opened != 0 {
		t.Errorf("got %v, want %v, and none seen to be opened\n%s", got, want, describe(r))
	}
	named := fmt.Sprintf("compat (pid %d)", p.PID)
	isNote := func(note string) bool {
		return strings.HasPrefix(note, "32-bit programs") && strings.Contains(note, named)
	}
	if !slices.ContainsFunc(r.Notes, isNote) {
		t.Errorf("no note about it: %q", r.Notes)
	}
}
