package workload

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds the wait for any line of a program. It is far beyond what
// any of them needs, even on a machine with more work than cores.
const patience = time.Minute

// Proc is a running program, which ends with its test at the latest. Its
// methods fail the test when the program does not do as it should, and are for
// the goroutine of the test.
type Proc struct {
	// PID is the process id. The program leads a process group of its own.
	PID int

	t     testing.TB
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end of output
}

// Start runs a program. It does not wait until it is ready. What the program
// says on standard error goes to that of the test.
func Start(t testing.TB, path string, args ...string) *Proc {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("make the input of %s: %v", path, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("make the output of %s: %v", path, err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	// Room for a line nobody waits for any more, so that the reader ends.
	p := &Proc{PID: cmd.Process.Pid, t: t, name: path, cmd: cmd, in: in, lines: make(chan string, 16)}
	go p.read(out)
	t.Cleanup(p.Stop)
	return p
}

func (p *Proc) read(out io.Reader) {
	defer close(p.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		p.lines <- s.Text()
	}
}

// Line returns the next line that the program prints.
func (p *Proc) Line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%s ended early", p.name)
		}
		return line
	case <-time.After(patience):
		p.t.Fatalf("%s said nothing for %v", p.name, patience)
	}
	return ""
}

// Expect waits for the next line, which must be the one given.
func (p *Proc) Expect(want string) {
	p.t.Helper()
	if got := p.Line(); got != want {
		p.t.Fatalf("%s said %q, want %q", p.name, got, want)
	}
}

// Ready waits until the program has set up what it is to show.
func (p *Proc) Ready() {
	p.t.Helper()
	p.Expect("ready")
}

// Send gives the program a command and returns its answer, one line.
func (p *Proc) Send(command string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatalf("send %q to %s: %v", command, p.name, err)
	}
	return p.Line()
}

// Do sends a command that must succeed ("ok ...") and returns the words of the
// answer after "ok".
func (p *Proc) Do(command string) []string {
	p.t.Helper()
	words := strings.Fields(p.Send(command))
	if len(words) == 0 || words[0] != "ok" {
		p.t.Fatalf("%s: %q failed: %q", p.name, command, strings.Join(words, " "))
	}
	return words[1:]
}

// DoInt is Do for a command that answers with a number first: a descriptor, or
// the index of a child or worker.
func (p *Proc) DoInt(command string) int {
	p.t.Helper()
	words := p.Do(command)
	if len(words) == 0 {
		p.t.Fatalf("%s: %q has no result", p.name, command)
	}
	n, err := strconv.Atoi(words[0])
	if err != nil {
		p.t.Fatalf("%s: result of %q: %v", p.name, command, err)
	}
	return n
}

// Stop kills the program and all of its process group, and waits for it. It
// may be called more than once.
func (p *Proc) Stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	// The group is gone when the program ended with all its children.
	if err := syscall.Kill(-p.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		p.t.Errorf("kill %s: %v", p.name, err)
	}
	p.in.Close() // a pipe whose reader may be gone: nothing is lost
	// Drained, so that no line holds up the reader that Wait waits for.
	for range p.lines {
	}
	// The status says only that it was killed, or left as it was told.
	_ = p.cmd.Wait()
}
