// Package procfs reads facts about processes from /proc, as proc(5) describes
// it: names, limits, descriptors, namespaces.
package procfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoProcess says that no process has the number, or that it ended while it
// was looked at. With /proc mounted with hidepid, processes of other users
// are hidden from those without CAP_SYS_PTRACE, and look the same.
var ErrNoProcess = errors.New("no such process")

// FS is a mounted proc file system. Process numbers that go in and come out
// are those of the pid namespace it was mounted in, which is the reader's own
// unless somebody mounted another one's /proc there.
type FS struct {
	root string
	// clock returns the same moment as wall time and as time since boot
	// (CLOCK_BOOTTIME); tests stop it.
	clock func() (time.Time, time.Duration, error)
}

// New returns the proc file system mounted at root; "" is "/proc". Nothing is
// opened yet.
func New(root string) FS {
	if root == "" {
		root = "/proc"
	}
	return FS{root: root, clock: readClocks}
}

// readClocks is more precise than btime of /proc/stat, which is in whole
// seconds.
func readClocks() (time.Time, time.Duration, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return time.Time{}, 0, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return time.Now(), time.Duration(boot.Nano()), nil
}

// process is an open /proc/PID. The kernel ties it to the process, not to the
// number: whatever is read through it is of one process, even if the number
// is reused in between.
type process struct {
	*os.Root
	pid uint32
}

func (fs FS) open(pid uint32) (process, error) {
	dir, err := os.OpenRoot(fs.path(pid, ""))
	if err != nil {
		return process{}, fs.noProcess(pid, err)
	}
	return process{dir, pid}, nil
}

func (fs FS) path(pid uint32, name string) string {
	return filepath.Join(fs.root, strconv.FormatUint(uint64(pid), 10), name)
}

// noProcess explains why /proc/PID itself could not be looked at.
func (fs FS) noProcess(pid uint32, err error) error {
	if !isGone(err) {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	// An empty /proc has no process either, but that is another problem.
	if _, err := os.Lstat(filepath.Join(fs.root, "self")); err != nil {
		return fmt.Errorf("look for process %d: %s is not a proc file system: %w", pid, fs.root, err)
	}
	return fmt.Errorf("process %d: %w", pid, ErrNoProcess)
}

// fail names what could not be read, or says that the process is gone.
func (p process) fail(name string, err error) error {
	if isGone(err) {
		// A file may be missing in a process that is there: a kernel
		// thread has no exe, some kernels have no net.
		if _, gone := p.Stat("stat"); gone != nil || errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d: %w", p.pid, ErrNoProcess)
		}
	}
	return fmt.Errorf("read %s of process %d: %w", name, p.pid, err)
}

func (p process) read(name string) ([]byte, error) {
	data, err := p.ReadFile(name)
	if err != nil {
		return nil, p.fail(name, err)
	}
	return data, nil
}

// isGone: opening under /proc/PID of an ended process is ENOENT, reading what
// was opened before its end is ESRCH.
func isGone(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH)
}
