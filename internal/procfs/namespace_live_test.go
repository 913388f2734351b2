package procfs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTimeWait makes connections end in TIME-WAIT in a network namespace of
// its own: one of IPv4, one of IPv6.
func TestTimeWait(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	type result struct {
		stat SockStat
		err  error
	}
	results := make(chan []result)
	go func() {
		defer close(results)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		thread := uint32(unix.Gettid())
		var all []result
		measure := func(err error) {
			stat, statErr := New("").SockStat(thread)
			all = append(all, result{stat, errors.Join(err, statErr)})
		}
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = exec.Command("ip", "link", "set", "lo", "up").Run()
		}
		measure(err)
		measure(timeWait(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		measure(timeWait(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte(net.IPv6loopback)}))
		results <- all
	}()
	own, err := New("").SockStat(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range <-results {
		if got.err != nil {
			t.Fatalf("after %d connections: %v", i, got.err)
		}
		if got.stat.TimeWait != uint64(i) || got.stat.NetNS == own.NetNS {
			t.Errorf("after %d connections: %+v, outside %+v", i, got.stat, own)
		}
	}
}

// timeWait connects, and closes the connecting side first. It makes plain
// system calls so that everything happens in this thread's namespace.
func timeWait(family int, addr unix.Sockaddr) error {
	listener, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	client, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return unix.Bind(listener, addr) },
		func() error { return unix.Listen(listener, 1) },
		func() (err error) { addr, err = unix.Getsockname(listener); return err },
		func() error { return unix.Connect(client, addr) },
	} {
		if err := step(); err != nil {
			unix.Close(client)
			return err
		}
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		unix.Close(client)
		return err
	}
	return errors.Join(unix.Close(client), unix.Close(server))
}

// TestNestedPIDNamespace runs a helper in a pid namespace of its own that sees
// our /proc, as a container with the host's /proc does. It starts a process
// beside it and one a level deeper and looks for their numbers out here.
func TestNestedPIDNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a pid namespace")
	}
	if in, err := New("").InInitialPIDNS(); err != nil || !in {
		t.Skipf("needs to run in the initial pid namespace: %v, %v", in, err)
	}
	// A neighbour: as deep, and with the same number 1.
	helper(t, "wait", syscall.CLONE_NEWPID)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=nested")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := string(out), "self 1: as /proc/self\nbeside: true\nbelow: true\nmissing: true\n"; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// nested is the helper of TestNestedPIDNamespace; only its output matters.
func nested() int {
	fs := New("")
	outer, err := os.Readlink("/proc/self")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	self, err := fs.InitialPID(uint32(os.Getpid()))
	if err != nil || strconv.Itoa(int(self)) != outer {
		fmt.Println("self:", self, err, "want", outer)
		return 1
	}
	fmt.Printf("self %d: as /proc/self\n", os.Getpid())
	for _, child := range []struct {
		name  string
		flags uintptr
	}{{"beside", 0}, {"below", syscall.CLONE_NEWPID}} {
		cmd, err := startHelper("wait", child.flags)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		pid, err := fs.InitialPID(uint32(cmd.Process.Pid))
		if err != nil {
			fmt.Println(child.name, err)
			return 1
		}
		info, err := fs.Process(pid)
		fmt.Printf("%s: %v\n", child.name, err == nil && info.PPID == self && strings.HasPrefix(info.Comm, "exe"))
	}
	_, err = fs.InitialPID(99999)
	fmt.Printf("missing: %v\n", errors.Is(err, ErrNoProcess))
	return 0
}
