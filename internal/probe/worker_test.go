package probe

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tests that trace run this test binary as a second process, because a
// Probe never follows its own. That worker makes system calls as it is told, a
// line each, and no others on descriptors.
const workerVariable = "SOCKLEAK_TEST_WORKER"

// The worker's main goroutine must stay on the first thread, and only init
// runs there for certain.
func init() {
	if os.Getenv(workerVariable) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	switch os.Getenv(workerVariable) {
	case "":
		os.Exit(m.Run())
	case "exit":
		os.Exit(0)
	default:
		workerMain()
	}
}

// firstFD is the lowest descriptor that is free in the worker: the ones below
// are taken, whatever the runtime keeps open.
const firstFD = 20

// The worker reads with system calls: package os would make an epoll instance.
func workerMain() {
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			fatalWorker(err)
		}
		if fd == firstFD-1 {
			break
		}
		if fd >= firstFD {
			fatalWorker(fmt.Errorf("descriptor %d is the lowest free one", fd))
		}
	}
	fmt.Println("ready")
	var line []byte
	for {
		b := make([]byte, 256)
		n, err := unix.Read(0, b)
		if err != nil || n == 0 {
			os.Exit(0) // the test is gone
		}
		line = append(line, b[:n]...)
		for {
			command, rest, ok := strings.Cut(string(line), "\n")
			if !ok {
				break
			}
			line = []byte(rest)
			if err := perform(strings.Fields(command)); err != nil {
				fmt.Println("error:", err)
			} else {
				fmt.Println("ok")
			}
		}
	}
}

func fatalWorker(err error) {
	fmt.Println("error:", err)
	os.Exit(1)
}

// perform carries out one command. The last word may be the error it must
// have: "errno=111".
func perform(words []string) error {
	var want unix.Errno
	if text, ok := strings.CutPrefix(words[len(words)-1], "errno="); ok {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		want, words = unix.Errno(n), words[:len(words)-1]
	}
	call, ok := calls()[words[0]]
	if !ok {
		return fmt.Errorf("unknown command %q", words[0])
	}
	args, err := integers(words[1:])
	if err != nil {
		return err
	}
	err = call(args)
	if want != 0 && err == want {
		return nil
	}
	if want != 0 {
		return fmt.Errorf("%s: result %v, want %w", words[0], err, want)
	}
	return err
}

func integers(words []string) ([]int, error) {
	n := make([]int, 8) // those not given are zero
	for i, word := range words {
		var err error
		if n[i], err = strconv.Atoi(word); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func calls() map[string]func(a []int) error {
	return map[string]func(a []int) error{
		"socket":        func(a []int) error { return result(unix.Socket(a[0], a[1], a[2])) },
		"socketpair":    func(a []int) error { _, err := unix.Socketpair(a[0], a[1], a[2]); return err },
		"bind":          func(a []int) error { return unix.Bind(a[0], loopback(a[1])) },
		"bind-unix":     func(a []int) error { return unix.Bind(a[0], &unix.SockaddrUnix{}) }, // autobind: unix(7)
		"bind-path":     func(a []int) error { return bindPath(a[0]) },
		"bind-abstract": func(a []int) error { return unix.Bind(a[0], &unix.SockaddrUnix{Name: abstractName(a[0])}) },
		"listen":        func(a []int) error { return unix.Listen(a[0], a[1]) },
		"accept4":       func(a []int) error { fd, _, err := unix.Accept4(a[0], a[1]); return result(fd, err) },
		"accept":        accept,
		// connect FD TO: to where the socket TO is bound.
		"connect":         connect,
		"connect-nowhere": func(a []int) error { return unix.Connect(a[0], loopback(1)) }, // nobody listens on tcpmux
		"disconnect":      disconnect,
		"write":           func(a []int) error { return result(unix.Write(a[0], make([]byte, a[1]))) },
		"read":            func(a []int) error { return result(unix.Read(a[0], make([]byte, a[1]))) },
		"shutdown":        func(a []int) error { return unix.Shutdown(a[0], a[1]) },
		"keepalive":       func(a []int) error { return unix.SetsockoptInt(a[0], unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) },
		"reset": func(a []int) error {
			return unix.SetsockoptLinger(a[0], unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		},
		"keepalive-fast": keepaliveFast,
		"deaf":           func(a []int) error { return deaf(a[0]) },
		"close":          func(a []int) error { return unix.Close(a[0]) },
		"close_range":    func(a []int) error { return unix.CloseRange(uint(a[0]), uint(a[1]), uint(a[2])) },
		"dup":            func(a []int) error { return result(unix.Dup(a[0])) },
		"dup2":           dup2,
		"dup3":           func(a []int) error { return unix.Dup3(a[0], a[1], a[2]) },
		"fcntl":          func(a []int) error { return result(unix.FcntlInt(uintptr(a[0]), a[1], a[2])) },
		"wait-readable": func(a []int) error { // until the next command changes it
			go waitReadable(a[0])
			return nil
		},
		"epoll": epoll,
		"epoll-del": func(a []int) error {
			return unix.EpollCtl(a[0], unix.EPOLL_CTL_DEL, a[1], nil)
		},
		"so-error": func(a []int) error {
			return result(unix.GetsockoptInt(a[0], unix.SOL_SOCKET, unix.SO_ERROR))
		},
		"spawn":    func(a []int) error { return spawn(a[0]) },
		"unshared": unshared,
	}
}

func result(_ int, err error) error { return err }

// loopback is 127.0.0.1 with the port; 0 is for the kernel to choose.
func loopback(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}
}

// accept is accept(2), which package unix has only where accept4(2) is missing.
func accept(a []int) error {
	_, _, errno := unix.Syscall(unix.SYS_ACCEPT, uintptr(a[0]), 0, 0)
	return errnoError(errno)
}

func errnoError(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func connect(a []int) error {
	to, err := unix.Getsockname(a[1])
	if err != nil {
		return err
	}
	if in, ok := to.(*unix.SockaddrInet4); ok {
		// A socket that wants IPv6 gets the same address, mapped.
		if family, err := unix.GetsockoptInt(a[0], unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
			return err
		} else if family == unix.AF_INET6 {
			mapped := &unix.SockaddrInet6{Port: in.Port}
			copy(mapped.Addr[:], append([]byte{10: 0xff, 11: 0xff}, in.Addr[:]...))
			to = mapped
		}
	}
	return unix.Connect(a[0], to)
}

// disconnect is connect with AF_UNSPEC: connect(2).
func disconnect(a []int) error {
	to := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(a[0]), uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to))
	return errnoError(errno)
}

// dup2 is dup2(2), which arm64 does not have and package unix makes of dup3(2).
func dup2(a []int) error {
	const sysDup2 = 33 // arch/x86/entry/syscalls/syscall_64.tbl
	_, _, errno := unix.Syscall(sysDup2, uintptr(a[0]), uintptr(a[1]), 0)
	return errnoError(errno)
}

// bindPath gives an AF_UNIX socket a path as long as there can be, of which
// nothing is left in the file system.
func bindPath(fd int) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := dir + "/"
	path += strings.Repeat("x", 107-len(path)) // and the final zero: unix(7)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

// abstractName is one to package unix.
func abstractName(fd int) string { return fmt.Sprintf("@probe.%d.%d", os.Getpid(), fd) }

// keepaliveFast has a probe sent after a second of silence, and every second.
func keepaliveFast(a []int) error {
	return errors.Join(
		unix.SetsockoptInt(a[0], unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1),
		unix.SetsockoptInt(a[0], unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1),
		unix.SetsockoptInt(a[0], unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
	)
}

// deaf has the kernel drop all that arrives for a socket before TCP sees it: to
// its peer it is as if the cable were cut (socket(7), SO_ATTACH_FILTER).
func deaf(fd int) error {
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
}

func waitReadable(fd int) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	// Whatever it returns, it waited.
	_, _ = unix.Poll(p, -1)
}

func epoll(a []int) error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, a[0], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(a[0])})
}

// spawn runs a program that ends at once, with the descriptor as its standard
// input, and waits for it.
func spawn(fd int) error {
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"child"}, &syscall.ProcAttr{
		Env:   []string{workerVariable + "=exit"},
		Files: []uintptr{uintptr(fd), 1, 2},
	})
	if err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	if status.ExitStatus() != 0 {
		return fmt.Errorf("the child's status is %v", status)
	}
	return nil
}

// unshared makes a thread with a name of its own that leaves the process's
// descriptor table, opens a socket in its own and ends.
func unshared([]int) error {
	done := make(chan error)
	var thread int
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		thread = unix.Gettid()
		done <- performUnshared()
	}()
	if err := <-done; err != nil {
		return err
	}
	for {
		err := unix.Tgkill(os.Getpid(), thread, 0)
		if err == unix.ESRCH {
			return nil
		}
		if err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func performUnshared() error {
	name, err := unix.BytePtrFromString("unshared")
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return err
	}
	return result(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
}

// worker is the other process, seen from the test.
type worker struct {
	t   *testing.T
	pid int
	in  *os.File
	out *bufio.Scanner
}

func startWorker(t *testing.T) *worker {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), workerVariable+"=commands")
	cmd.Stderr = os.Stderr
	childIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = childIn
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	childIn.Close()
	w := &worker{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		// A thread of it may wait for ever.
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill the worker: %v", err)
		}
		_ = cmd.Wait() // says that it was killed
	})
	w.expect("ready")
	return w
}

func (w *worker) expect(want string) {
	w.t.Helper()
	if !w.out.Scan() {
		w.t.Fatalf("the worker ended: %v", w.out.Err())
	}
	if got := w.out.Text(); got != want {
		w.t.Fatalf("the worker said %q, want %q", got, want)
	}
}

// do has the worker carry out commands, a line each; all must succeed.
func (w *worker) do(commands string) {
	w.t.Helper()
	for line := range strings.Lines(commands) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if _, err := w.in.WriteString(line + "\n"); err != nil {
			w.t.Fatalf("command the worker: %v", err)
		}
		if !w.out.Scan() {
			w.t.Fatalf("the worker ended at %q: %v", line, w.out.Err())
		}
		if got := w.out.Text(); got != "ok" {
			w.t.Fatalf("%s: the worker said %q", line, got)
		}
	}
}
