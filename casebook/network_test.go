package casebook

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Stage is what a case's program finds around it.
type Stage struct {
	T       testing.TB
	network *Network
	then    func(*Program)
}

// Then has f called once the program is ready, on the test's goroutine.
func (s *Stage) Then(f func(*Program)) { s.then = f }

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

func (n *Network) path() string { return "/proc/" + strconv.Itoa(n.pid) + "/ns/net" }

// enter is the command that runs another inside, as the same process.
func (n *Network) enter() []string {
	return []string{tool(n.t, "nsenter"), "--net=" + n.path(), "--"}
}

// IP runs ip(8) inside.
func (n *Network) IP(args ...string) {
	n.t.Helper()
	n.run("ip", args...)
}

// run runs a command inside.
func (n *Network) run(name string, args ...string) {
	n.t.Helper()
	argv := append(n.enter(), tool(n.t, name))
	argv = append(argv, args...)
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
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

// LateAccept makes the first SYN of every connection to a port get lost, so that
// connections are established with the second, a second later.
func (n *Network) LateAccept(port string) {
	n.t.Helper()
	for _, rule := range []string{
		"add table inet late",
		"add set inet late seen { type inet_service; flags dynamic; timeout 60s; }",
		"add chain inet late input { type filter hook input priority 0; }",
		"add rule inet late input tcp dport " + port + " tcp sport @seen accept",
		"add rule inet late input tcp dport " + port + " tcp flags & (syn|ack) == syn add @seen { tcp sport } drop",
	} {
		n.run("nft", rule)
	}
}

// Patient makes connect go on for longer than any test watches.
func (n *Network) Patient() {
	n.t.Helper()
	n.run("sh", "-c", "echo 9 >/proc/sys/net/ipv4/tcp_syn_retries")
}

// KeepPorts makes the kernel keep the port of a client that has closed for longer than
// any test watches. Else it takes it for another connection when FIN-WAIT-2 is over,
// and the server's side that was never closed is reset by that: no longer CLOSE-WAIT.
func (n *Network) KeepPorts() {
	n.t.Helper()
	n.run("sh", "-c", "echo 3600 >/proc/sys/net/ipv4/tcp_fin_timeout")
}

// inside runs f on a thread that is in the namespace, and not used for anything
// else after that. Sockets that f makes stay in the namespace.
func (n *Network) inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			ns, err := os.Open(n.path())
			if err != nil {
				return fmt.Errorf("open the namespace: %w", err)
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the namespace: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}
