package procfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary, started again, do something else first.
const helperEnv = "SOCKLEAK_PROCFS_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "wait":
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "nested":
		os.Exit(nested())
	}
	os.Exit(m.Run())
}

// helper starts the test binary as a helper, and returns when it is ready.
func helper(t *testing.T, role string, flags uintptr) *exec.Cmd {
	t.Helper()
	cmd, err := startHelper(role, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func startHelper(role string, flags uintptr) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, err = out.Read(make([]byte, 16))
	return cmd, err
}

func TestOwnProcess(t *testing.T) {
	started := time.Now()
	cmd := helper(t, "wait", 0)
	pid := uint32(cmd.Process.Pid)
	got, err := New("").Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if d := got.Start.Sub(started); d < -20*time.Millisecond || d > 5*time.Second {
		t.Errorf("started %v after we started it", d)
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(int(pid), unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	want := Info{
		PID: pid, TGID: pid, PPID: uint32(os.Getpid()), Exe: exe, NoFile: limit.Cur,
		Comm: "exe", // of /proc/self/exe, which it was started by
		// not to be foretold
		State: got.State, StartTicks: got.StartTicks, Start: got.Start, NSPIDs: got.NSPIDs, Threads: got.Threads, Cgroup: got.Cgroup,
	}
	if !reflect.DeepEqual(got, want) || got.Threads < 1 || got.NSPIDs[0] != pid {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEndedProcess(t *testing.T) {
	cmd := helper(t, "wait", 0)
	pid := uint32(cmd.Process.Pid)
	fs := New("")
	p, err := fs.open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a zombie", func() bool {
		info, err := fs.Process(pid)
		return err == nil && info.Zombie() && info.Exe == ""
	})
	if err := p.alive(); err != nil {
		t.Errorf("a zombie: %v", err)
	}
	cmd.Wait()
	if err := p.alive(); !errors.Is(err, ErrNoProcess) {
		t.Errorf("alive: %v", err)
	}
	if _, err := p.read("stat"); !errors.Is(err, ErrNoProcess) {
		t.Errorf("through the directory opened before: %v", err)
	}
	for name, call := range map[string]func() error{
		"Process":      func() error { _, err := fs.Process(pid); return err },
		"CountFDs":     func() error { _, err := fs.CountFDs(pid); return err },
		"SocketInodes": func() error { _, err := fs.SocketInodes(pid); return err },
		"SockStat":     func() error { _, err := fs.SockStat(pid); return err },
	} {
		if err := call(); !errors.Is(err, ErrNoProcess) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 500 {
		if cond() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited 5 s for %s", what)
}

func TestOwnDescriptors(t *testing.T) {
	fs, self := New(""), uint32(os.Getpid())
	before, err := fs.CountFDs(self)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[int32]uint64)
	const n = 1500 // more than one read of the directory
	for range n {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		want[int32(fd)] = st.Ino
	}
	after, err := fs.CountFDs(self)
	if err != nil || after-before != n {
		t.Errorf("count grew from %d to %d, %v, want %d more", before, after, err, n)
	}
	// The other way to count, which has the directory itself open.
	listed := 0
	err = fs.eachFD(self, func(_ *os.File, names []string) error { listed += len(names); return nil })
	if extra := listed - after; err != nil || extra < 1 || extra > 2 {
		t.Errorf("listed %d, %v; counted %d", listed, err, after)
	}
	got, err := fs.SocketInodes(self)
	if err != nil {
		t.Fatal(err)
	}
	for fd := range got {
		if _, ours := want[fd]; !ours { // another test's
			delete(got, fd)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("SocketInodes: got %d sockets, want %d", len(got), len(want))
	}
}

func BenchmarkCountFDs(b *testing.B) {
	fs, self := New(""), uint32(os.Getpid())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fs.CountFDs(self); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	fs, self := New(""), uint32(os.Getpid())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fs.Process(self); err != nil {
			b.Fatal(err)
		}
	}
}
