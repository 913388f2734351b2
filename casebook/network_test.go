package casebook

import (
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Stage is what a case's program finds around it.
type Stage struct {
	T       testing.TB
	network *Network
}

// Network makes a network namespace for the program, with loopback up.
func (s *Stage) Network() *Network {
	s.T.Helper()
	s.network = newNetwork(s.T)
	return s.network
}

// Network is a network namespace without a name: nothing of it is left when the
// process that keeps it ends.
type Network struct {
	t   testing.TB
	pid int // keeps it
}

func newNetwork(t testing.TB) *Network {
	t.Helper()
	cmd := exec.Command(tool(t, "cat"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe() // cat ends when the test does, whatever becomes of it
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // cat has nothing to fail at
	})
	n := &Network{t: t, pid: cmd.Process.Pid}
	n.IP("link", "set", "lo", "up")
	return n
}

// enter is the command that runs another inside, as the same process.
func (n *Network) enter() []string {
	return []string{tool(n.t, "nsenter"), "--net=/proc/" + strconv.Itoa(n.pid) + "/ns/net", "--"}
}

// IP runs ip(8) inside.
func (n *Network) IP(args ...string) {
	n.t.Helper()
	argv := append(n.enter(), tool(n.t, "ip"))
	argv = append(argv, args...)
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Blackhole gives the namespace a route on which all packets are lost, and
// returns an address on it: the other end of the wire answers nothing.
func (n *Network) Blackhole() string {
	n.t.Helper()
	n.IP("link", "add", "hole0", "type", "veth", "peer", "name", "hole1")
	n.IP("link", "set", "hole0", "arp", "off", "up")
	n.IP("link", "set", "hole1", "arp", "off", "up")
	n.IP("address", "add", "198.51.100.1/24", "dev", "hole0") // RFC 5737: TEST-NET-2
	return "198.51.100.7"
}

// Start runs a command inside that ends when its input does, and returns its
// input and output.
func (n *Network) Start(argv ...string) (io.WriteCloser, io.Reader) {
	n.t.Helper()
	argv = append(n.enter(), argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatalf("start %s: %v", argv[0], err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatalf("start %s: %v", argv[0], err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatalf("start %s: %v", argv[0], err)
	}
	n.t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	return in, out
}
