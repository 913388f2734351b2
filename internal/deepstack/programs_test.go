package deepstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"sockleak/internal/langtest"
	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// program is one of testdata, running.
type program struct {
	cmd *exec.Cmd
	pid uint32
	exe string // as the process sees it
	// code is where its functions are, if it is stripped.
	code langtest.Code
}

// build runs a compiler in a directory of the test.
func build(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(needs.Tool(t, name), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run %v: %v\n%s", cmd, err, out)
	}
}

// source returns the absolute path of a file in testdata.
func source(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// markedLine returns the line of a file in testdata that has a mark.
func markedLine(t *testing.T, name, mark string) int {
	t.Helper()
	return workload.Line(t, source(t, name), mark)
}

// started starts a program. Whoever calls it ends it.
func started(t *testing.T, name string, args ...string) program {
	t.Helper()
	cmd := exec.Command(needs.Tool(t, name), args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", cmd, err)
	}
	exe, err := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/exe")
	if err != nil {
		end(cmd)
		t.Fatal(err)
	}
	return program{cmd: cmd, pid: uint32(cmd.Process.Pid), exe: exe}
}

// end stops a program.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()         // killed: that is its status
}
