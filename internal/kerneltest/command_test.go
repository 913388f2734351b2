package kerneltest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// patience bounds every wait. An emulated CPU takes minutes to check the
// programs of the profiler.
const patience = 6 * time.Minute

var built string // the command, when it had to be built here

func TestMain(m *testing.M) {
	if isContainer() {
		if err := containerMain(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	status := m.Run()
	if built != "" {
		if err := os.RemoveAll(filepath.Dir(built)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// command returns the path of the command: that of the virtual machine, or one
// built here.
func command(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SOCKLEAK"); path != "" {
		return path
	}
	if built != "" {
		return built
	}
	dir, err := os.MkdirTemp("", "sockleak-kerneltest-")
	if err != nil {
		t.Fatal(err)
	}
	built = filepath.Join(dir, "sockleak")
	// Users without privilege run it too.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", built, "sockleak/cmd/sockleak")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	return built
}

// outcome is what came of a command.
type outcome struct {
	status         int
	stdout, stderr string
}

// sockleak runs the command to its end.
func sockleak(t *testing.T, args ...string) outcome {
	t.Helper()
	return finish(t, exec.Command(command(t), args...))
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	return outcome{exitStatus(t, cmd.Wait()), out.String(), errs.String()}
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return 0
}

// tracing is the command while it traces, with a report at every look.
type tracing struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan *verdict.Report // closed at the end of output
	stderr bytes.Buffer
	last   *verdict.Report
}

// begin starts the command with the arguments given, and waits until it traces.
// quick are the flags that make it report soon.
func begin(t *testing.T, args ...string) *tracing {
	t.Helper()
	return beginAs(t, func(*exec.Cmd) {}, args...)
}

var quick = []string{"-o", "ndjson", "--for", "0", "--min-age", "300ms", "--idle", "2s", "--interval", "200ms"}

func beginAs(t *testing.T, as func(*exec.Cmd), args ...string) *tracing {
	t.Helper()
	k := &tracing{t: t, lines: make(chan *verdict.Report, 1)}
	k.cmd = exec.Command(command(t), append([]string{args[0]}, append(quick, args[1:]...)...)...)
	k.cmd.Stderr = &k.stderr
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	as(k.cmd)
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if k.cmd.ProcessState == nil {
			_ = k.cmd.Process.Kill()
			_ = k.cmd.Wait()
		}
	})
	go func() {
		defer close(k.lines)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			r := &verdict.Report{}
			if err := json.Unmarshal(lines.Bytes(), r); err != nil {
				r.Notes = append(r.Notes, fmt.Sprintf("not a report: %v: %q", err, lines.Text()))
			}
			k.lines <- r
		}
	}()
	k.until("it traces", func(*verdict.Report) bool { return true })
	return k
}

// until reads reports until one is as it should be.
func (k *tracing) until(what string, done func(*verdict.Report) bool) *verdict.Report {
	k.t.Helper()
	return k.untilRight(what, func(r *verdict.Report) string {
		if done(r) {
			return ""
		}
		return "it did not come"
	})
}

// untilRight reads reports until nothing is wrong with one.
func (k *tracing) untilRight(what string, wrong func(*verdict.Report) string) *verdict.Report {
	k.t.Helper()
	late := time.After(patience)
	for {
		select {
		case r, ok := <-k.lines:
			if !ok {
				err := k.cmd.Wait()
				k.t.Fatalf("sockleak ended before %s: %v\n%s", what, err, k.stderr.String())
			}
			k.last = r
			if wrong(r) == "" {
				return r
			}
		case <-late:
			r, _ := k.end() // with the notes
			k.t.Fatalf("waited %v until %s: %s; the last report:\n%s", patience, what, wrong(r), describe(r))
		}
	}
}

// looks waits for so many more looks at the kernel's tables.
func (k *tracing) looks(n int) {
	k.t.Helper()
	for range n {
		k.until("it looks again", func(*verdict.Report) bool { return true })
	}
}

// watch goes on for a while.
func (k *tracing) watch(d time.Duration) {
	k.t.Helper()
	began := time.Now()
	k.until("some time has passed", func(*verdict.Report) bool { return time.Since(began) >= d })
}

// end interrupts it and returns the last report, and the exit status.
func (k *tracing) end() (*verdict.Report, int) {
	k.t.Helper()
	if err := k.cmd.Process.Signal(syscall.SIGINT); err != nil {
		k.t.Fatal(err)
	}
	killer := time.AfterFunc(patience, func() { _ = k.cmd.Process.Kill() })
	defer killer.Stop()
	for r := range k.lines {
		k.last = r
	}
	return k.last, exitStatus(k.t, k.cmd.Wait())
}

// describe is a report in a few lines.
func describe(r *verdict.Report) string {
	if r == nil {
		return "none"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %+v; lost %+v\n", r.Verdict, r.Totals, r.Loss)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%d %s in %s (%d), %s %s:\n", f.Count, f.Class, f.Process.Comm, f.Process.PID, f.Origin.Quality, f.Origin.Reason)
		for _, frame := range f.Origin.Frames {
			fmt.Fprintf(&b, "    %s %s:%d\n", frame.Function, filepath.Base(frame.File), frame.Line)
		}
		for _, socket := range f.Sockets {
			fmt.Fprintf(&b, "    socket %d %s, held by %v\n", socket.Inode, socket.State, socket.Holders)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	return b.String()
}

// program starts a program of package workload.
func program(t *testing.T, name string, args ...string) *workload.Proc {
	t.Helper()
	return ready(t, workload.Build(t, name), args...)
}

// ready starts the program of a path.
func ready(t *testing.T, path string, args ...string) *workload.Proc {
	t.Helper()
	p := workload.Start(t, path, args...)
	p.Ready()
	return p
}
