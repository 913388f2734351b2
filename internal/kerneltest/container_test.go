package kerneltest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/ifup"
	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// The test binary, started again with one of these and a program, makes a
// container around it: from outside, and from inside.
const (
	outsideArg = "container-outside"
	insideArg  = "container-inside"
)

// isContainer reports whether this process is to make one.
func isContainer() bool {
	return len(os.Args) == 3 && (os.Args[1] == outsideArg || os.Args[1] == insideArg)
}

// containerMain does what the argument says.
func containerMain() error {
	if os.Args[1] == outsideArg {
		return outside(os.Args[2])
	}
	return inside(os.Args[2])
}

// outside starts the program in namespaces of its own, with users of its own, and
// says its process id out here.
func outside(program string) error {
	// Opened here: the container's root may not read what is ours.
	file, err := os.Open(program)
	if err != nil {
		return err
	}
	wait, begin, err := os.Pipe()
	if err != nil {
		return err
	}
	const firstID = 100000
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: 65536}}
	cmd := exec.Command("/proc/self/exe", insideArg, filepath.Base(program))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{wait, file}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC,
		Credential: &syscall.Credential{NoSetGroups: true}, UidMappings: ids, GidMappings: ids,
	}
	if err := errors.Join(cmd.Start(), wait.Close()); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return errors.Join(begin.Close(), cmd.Wait())
}

// inside makes a root file system with nothing but the program, at a path that
// there is only here, and becomes the program.
func inside(name string) error {
	const begun, program = 3, 4 // as outside hands them over
	if _, err := io.ReadAll(os.NewFile(begun, "begun")); err != nil {
		return err
	}
	const root = "/tmp"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("container", root, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	path := filepath.Join("/container", name)
	if err := os.Mkdir(root+"/container", 0o755); err != nil {
		return err
	}
	to, err := os.OpenFile(root+path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, os.NewFile(program, "program"))
	if err := errors.Join(err, to.Close(), bindLibraries(root), ifup.Loopback()); err != nil {
		return err
	}
	// Not pivot_root(2), which can't be done to a root from an initramfs.
	if err := errors.Join(unix.Chdir(root), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot(".")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return unix.Exec(path, []string{path}, nil)
}

// bindLibraries brings the libraries in, where the programs aren't static.
func bindLibraries(root string) error {
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		if target, err := os.Readlink(dir); err == nil {
			if err := os.Symlink(target, root+dir); err != nil {
				return err
			}
			continue
		}
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, root+dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	return nil
}

// contained starts a program in a container and returns its process id out here.
func contained(t *testing.T, name string) (*workload.Proc, int) {
	t.Helper()
	p := workload.Start(t, "/proc/self/exe", outsideArg, workload.Build(t, name))
	pid, err := strconv.Atoi(p.Line())
	if err != nil {
		t.Fatal(err)
	}
	p.Ready()
	return p, pid
}

// TestContainer: a program in a pid, mount, network and user namespace of its own
// is attached to by its number out here. Its functions are named from a file that
// there is only in there.
func TestContainer(t *testing.T) {
	needs.Root(t)
	p, pid := contained(t, "leak_classes")
	if _, err := os.Stat("/container"); err == nil {
		t.Fatal("the container's files are visible outside")
	}
	r := traced(t, begin(t, "attach", "--stacks", "fp", fmt.Sprint(pid)), p)
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Process.PID == uint32(pid) && (f.Process.NSPID == nil || *f.Process.NSPID != 1) {
			t.Errorf("%s is of %+v, want the number 1 in there", f.Class, f.Process)
		}
		for _, s := range f.Sockets {
			if s.NetNS == nil || uint64(*s.NetNS) == own.Ino {
				t.Errorf("%s is in network namespace %v, ours is %d", f.Class, s.NetNS, own.Ino)
			}
		}
	}
	// What use_well closed; the network namespace was new.
	if n := r.Totals.TimeWait; n == nil || *n < 2*rounds || *n > 6*rounds {
		t.Errorf("TIME-WAIT %v, want some %d of the container", n, 2*rounds)
	}
	text := sockleak(t, "attach", "--stacks", "fp", "--for", "1s", "--min-age", "200ms", "--interval", "200ms", fmt.Sprint(pid))
	if want := fmt.Sprintf("leak_classes (pid %d, 1 in its pid namespace)", pid); !strings.Contains(text.stdout, want) {
		t.Errorf("no %q in:\n%s", want, text.stdout)
	}
}
