package casebook

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a program. It is far beyond what any needs.
const patience = time.Minute

// Program is a case's running program. It tells on standard output what it has
// leaked:
//
//	ready            what it needs is up; before it nothing is leaked
//	leaked N         N have been leaked until now
//	leaked N CLASS   the same of one class, where several are wanted
//	peer ADDR:PORT   a peer of what it leaks (or ADDR, if the port is any)
//	unsupported WHY  this machine has not what it shows; said before ready
//
// and ends when its standard input does.
type Program struct {
	Case *Case
	PID  int

	source string // its main file
	traced func() // what happens once it is traced; nil: nothing

	cmd   *exec.Cmd
	in    io.WriteCloser
	errs  bytes.Buffer
	ended chan struct{} // closed when there is no more output
	ready chan struct{}

	mu      sync.Mutex
	history []leaked // by time
	peers   []string
	refused string   // why it is unsupported
	unknown []string // lines that are none of the above, and what else went wrong
}

// leaked is what a program said at one time.
type leaked struct {
	at    time.Time
	class string // empty: all that it leaks
	total int
}

// start builds what the case needs, starts its program and waits until it is
// ready, or has said that it is unsupported. The program ends with the test.
func start(t testing.TB, c *Case) *Program {
	t.Helper()
	argv := append(c.command(t), c.Args...)
	stage := &Stage{T: t}
	if c.Setup != nil {
		argv = append(argv, c.Setup(stage)...)
	}
	if stage.network != nil {
		argv = append(stage.network.enter(), argv...)
	}
	p := &Program{Case: c, source: c.path(t), cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{}), ready: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = &p.errs
	// A group of its own tells whose a finding of a child is. It ends with the
	// harness, even if that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatalf("%s: make its input: %v", c.Name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("%s: make its output: %v", c.Name, err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: start: %v", c.Name, err)
	}
	p.PID, p.in = p.cmd.Process.Pid, in
	go p.listen(out)
	t.Cleanup(func() { p.stop(t) })
	select {
	case <-p.ready:
	case <-p.ended:
		if p.refused == "" {
			t.Fatalf("%s ended before it was ready", c.Name)
		}
	case <-time.After(patience):
		t.Fatalf("%s is not ready after %v", c.Name, patience)
	}
	if stage.then != nil {
		stage.then(p)
	}
	return p
}

func (p *Program) listen(out io.Reader) {
	defer close(p.ended)
	for s := bufio.NewScanner(out); s.Scan(); {
		if err := p.heard(s.Text(), time.Now()); err != nil {
			p.mu.Lock()
			p.unknown = append(p.unknown, err.Error())
			p.mu.Unlock()
		}
	}
}

// heard takes a line that the program printed.
func (p *Program) heard(line string, at time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "ready":
		close(p.ready)
	case "leaked":
		number, class, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("read %q: %w", line, err)
		}
		p.history = append(p.history, leaked{at: at, class: class, total: n})
	case "unsupported":
		p.refused = rest
	case "peer":
		if !slices.Contains(p.peers, rest) {
			p.peers = append(p.peers, rest)
		}
	default:
		return fmt.Errorf("%q is no line of the protocol", line)
	}
	return nil
}

// Leak notes that one more is leaked, where the harness knows it and not the
// program.
func (p *Program) Leak(peer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 1
	if len(p.history) > 0 {
		n += p.history[len(p.history)-1].total
	}
	p.history = append(p.history, leaked{at: time.Now(), total: n})
	p.peers = append(p.peers, peer)
}

// leakedAt is how many of a class the program had leaked at a time. Its threads may
// tell what they counted in another order.
func (p *Program) leakedAt(at time.Time, class string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, h := range p.history {
		if h.class == class && !h.at.After(at) {
			n = max(n, h.total)
		}
	}
	return n
}

// knownPeers are the peers that the program has named until now.
func (p *Program) knownPeers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.peers)
}

// alive says whether the program still runs, and if not what it said.
func (p *Program) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unknown) > 0 {
		return fmt.Errorf("%s: %s", p.Case.Name, strings.Join(p.unknown, ", "))
	}
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended while it was watched", p.Case.Name)
	default:
		return nil
	}
}

// suspend stops those programs that can rest, with their children, where they are:
// what they have leaked is all that they will have.
func suspend(programs []*Program) {
	for _, p := range programs {
		if !p.Case.canRest() {
			continue
		}
		if err := syscall.Kill(-p.PID, syscall.SIGSTOP); err != nil {
			p.mu.Lock()
			p.unknown = append(p.unknown, fmt.Sprintf("stop it: %v", err))
			p.mu.Unlock()
		}
	}
}

// stop ends the program and all of its group.
func (p *Program) stop(t testing.TB) {
	// It can end by itself only when it runs; that it is gone the next one tells.
	_ = syscall.Kill(-p.PID, syscall.SIGCONT)
	p.in.Close() // a pipe whose reader may be gone: nothing is lost
	select {
	case <-p.ended:
	case <-time.After(time.Second):
	}
	// The group is gone when the program ended with all its children.
	if err := syscall.Kill(-p.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Errorf("kill %s: %v", p.Case.Name, err)
	}
	<-p.ended
	// The status says only that it was killed, or left as it was told.
	_ = p.cmd.Wait()
	if t.Failed() && p.errs.Len() > 0 {
		t.Logf("%s said:\n%s", p.Case.Name, p.errs.String())
	}
}
