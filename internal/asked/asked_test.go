package asked

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sockleak/internal/deepstack"
	"sockleak/internal/event"
	"sockleak/internal/framepointer"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
	"sockleak/internal/workload"
)

// program is one of testdata, waiting for a line. It writes lines of an inode
// number and who asked for that socket.
type program struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	pid  uint32
	exe  string
	name string // of the source, for its lines
}

// source returns the absolute path of a file in testdata.
func source(t testing.TB, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(needs.Tool(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("run %s %v: %v\n%s", name, args, err, out)
	}
}

func start(t testing.TB, source, path string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(path, args...), name: source}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.cmd.Wait()         // killed: that is its status
	})
	p.pid = uint32(p.cmd.Process.Pid)
	if p.exe, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)); err != nil {
		t.Fatal(err)
	}
	return p
}

// traced is a tier and a tracer that follow programs.
type traced struct {
	*Tracer
	tier   *deepstack.Tier
	native stack.Resolver // of addresses
	asks   map[uint64]Ask // by inode number
	many   map[uint64]int // how often there was one
}

func trace(t testing.TB, budget Budget, programs ...*program) *traced {
	t.Helper()
	var pids []uint32
	for _, p := range programs {
		pids = append(pids, p.pid)
	}
	tier, err := deepstack.Start(t.Context(), deepstack.Options{PIDs: pids})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	tracer, err := Open(tier, budget)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		closing := time.Now()
		if err := tracer.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		t.Logf("closed in %s", time.Since(closing).Round(time.Millisecond))
		if err := tier.Close(); err != nil {
			t.Errorf("close the tier: %v", err)
		}
	})
	began = time.Now()
	for _, p := range pids {
		tracer.Process(p)
	}
	for deadline := time.Now().Add(30 * time.Second); tracer.Status().Files < len(pids); time.Sleep(10 * time.Millisecond) {
		if s := tracer.Status(); s.Err != nil || time.Now().After(deadline) {
			t.Fatalf("attach: %+v", s)
		}
	}
	t.Logf("attached to %d processes in %s", len(pids), time.Since(began).Round(time.Millisecond))
	native := framepointer.New(symbol.New(symbol.Options{}), func(event.ProcessKey) []symbol.Mapping { return nil })
	return &traced{tracer, tier, native, map[uint64]Ask{}, map[uint64]int{}}
}

func (k *traced) poll(t testing.TB) {
	t.Helper()
	err := k.Poll(func(a Ask) {
		k.asks[a.Inode] = a
		k.many[a.Inode]++
	})
	if err != nil {
		t.Fatal(err)
	}
}

// log lets a program begin and reads what it writes, until "done" or the end.
func (k *traced) log(t testing.TB, p *program) map[uint64]string {
	t.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		t.Fatal(err)
	}
	asked := map[uint64]string{}
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for p.out.Scan() && p.out.Text() != "done" {
			lines <- p.out.Text()
		}
	}()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more {
				time.Sleep(300 * time.Millisecond) // the last stacks are on the way
				k.poll(t)
				return asked
			}
			inode, who, ok := strings.Cut(line, " ")
			n, err := strconv.ParseUint(inode, 10, 64)
			if !ok || err != nil {
				t.Fatalf("%s wrote %q", p.name, line)
			}
			asked[n] = who
		case <-look.C:
			k.poll(t)
		case <-t.Context().Done():
			return asked
		}
	}
}

// who says which function asked, with file and line; empty if it isn't known.
func (k *traced) who(p *program, inode uint64) string {
	a := k.asks[inode]
	if a.Started != 0 {
		key := event.ProcessKey{PID: p.pid}
		k.native.Capture(stack.Raw{ID: a.Started, Process: key, Addresses: []uint64{a.Started}})
		f := k.native.Resolve(key, a.Started).Frames[0]
		return fmt.Sprintf("%s %s:%d", f.Function, filepath.Base(f.File), f.Line)
	}
	for _, id := range a.Stacks {
		if id == 0 || !k.tier.Has(id) {
			return ""
		}
		frames := k.tier.Resolve(id).Frames
		if i := slices.IndexFunc(frames, func(f stack.Frame) bool { return stack.Own(&f, p.exe) }); i >= 0 {
			return fmt.Sprintf("%s %s:%d", frames[i].Function, filepath.Base(frames[i].File), frames[i].Line)
		}
		if !Replaced(frames) {
			return ""
		}
	}
	return ""
}

// TestNode: of every connection of a Node program the function that asked for it
// is known, with its line, in every way that there is to a connection. The
// profiler may miss some stacks, of code that was compiled a moment ago; and a name,
// because it reads it from the memory of the running program, where V8 may be moving
// it, and keeps what it read. Then another program has to show that function.
func TestNode(t *testing.T) {
	needs.Root(t)
	node := needs.Tool(t, "node")
	dir := t.TempDir()
	run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-keyout", dir+"/key.pem", "-out", dir+"/cert.pem")
	peer := start(t, "peer.js", node, source(t, "peer.js"), dir)
	if !peer.out.Scan() {
		t.Fatal("the servers did not start")
	}
	port := peer.out.Text()
	var nameless []string
	ways := func(t *testing.T) {
		p := start(t, "ways.js", node, source(t, "ways.js"), port, dir+"/peer.sock")
		before := nameless
		nameless = trace(t, Budget{}, p).compare(t, p, 33)
		for _, who := range nameless {
			if slices.Contains(before, who) {
				t.Errorf("%s has no name again", who)
			}
		}
	}
	if t.Run("ways.js", ways); nameless != nil {
		t.Run("ways.js again", ways)
	}
}

// TestUvloop: the same for coroutines on uvloop, in Debian's Python.
func TestUvloop(t *testing.T) {
	needs.Root(t)
	p := start(t, "loop.py", needs.Uvloop(t), source(t, "loop.py"))
	k := trace(t, Budget{}, p)
	k.compareNamed(t, p, 4)
}

// TestGo: of a goroutine that dials the go statement that started it is known, in
// a program without symbols too. What main makes itself, nobody started.
func TestGo(t *testing.T) {
	needs.Root(t)
	exe := filepath.Join(t.TempDir(), "gostart")
	run(t, "go", "build", "-ldflags=-s -w", "-o", exe, source(t, "gostart/main.go"))
	p := start(t, "gostart/main.go", exe)
	k := trace(t, Budget{}, p)
	k.compareNamed(t, p, 2)
}

// compare lets a program run, and compares what it says of its sockets with what
// was found out. Each of its functions must be found once at least, and none of
// them for a socket of another. It returns those that were found by their lines alone.
func (k *traced) compare(t testing.TB, p *program, functions int) (nameless []string) {
	t.Helper()
	found := map[string]int{}
	unknown := map[string]int{} // by why
	asked := k.log(t, p)
	for inode, who := range asked {
		_, seen := found[who]
		line := fmt.Sprintf(" %s:%d", filepath.Base(p.name), workload.Line(t, source(t, p.name), strings.TrimPrefix(who, "main.")+"("))
		switch got, want := k.who(p, inode), who+line; {
		case got == want:
			found[who]++
		case got == "<anonymous>"+line:
			found[who]++
			nameless = append(nameless, who)
		case got != "":
			t.Errorf("socket %d: got %q, want %q", inode, got, want)
		default:
			unknown[k.why(inode)]++
			if !seen {
				found[who] = 0
			}
		}
	}
	for who, n := range found {
		if n == 0 {
			t.Errorf("of no socket of %s it is known who asked", who)
		}
	}
	if len(found) != functions {
		t.Errorf("%d functions made sockets, want %d", len(found), functions)
	}
	loss := k.loss(t)
	t.Logf("%d sockets, not known %v; %+v", len(asked), unknown, loss)
	if n := unknown[notAsked]; uint64(n) > loss.missed() {
		t.Errorf("of %d sockets it is not known who asked, and %d were counted as lost", n, loss.missed())
	}
	if n := unknown[noReason]; n > 0 {
		t.Errorf("of %d sockets the stacks are complete, and have nothing of the program", n)
	}
	return nameless
}

// compareNamed is compare where every function has a name.
func (k *traced) compareNamed(t testing.TB, p *program, functions int) {
	t.Helper()
	if nameless := k.compare(t, p, functions); nameless != nil {
		t.Errorf("without names: %q", nameless)
	}
}

// Why it is not known who asked for a socket.
const (
	notAsked = "no stack"
	noReason = "no reason"
)

// why says so of a socket. A stack that didn't come, or came incomplete, is told to
// the reader of a report as well.
func (k *traced) why(inode uint64) string {
	ids := k.asks[inode].Stacks
	if ids[0] == 0 {
		return notAsked
	}
	for _, id := range ids {
		if id == 0 {
			break
		}
		if !k.tier.Has(id) {
			return "did not come"
		}
		if o := k.tier.Resolve(id); o.Quality != stack.Complete {
			return fmt.Sprintf("quality %v: %v", o.Quality, o.Reason)
		}
	}
	return noReason
}

func (k *traced) loss(t testing.TB) Loss {
	t.Helper()
	loss, err := k.Loss()
	if err != nil {
		t.Fatal(err)
	}
	return loss
}
