// Package tracepoint finds the numbers of the kernel's static tracepoints and
// attaches BPF programs to them. It needs no mounted tracefs and mounts none:
// where there is none, it uses one that is attached to no path and gone with
// its descriptor.
package tracepoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound says that this kernel has no such tracepoint.
	ErrNotFound = errors.New("no such tracepoint")
	// ErrNoSyscalls says that it has none for system calls at all: it was
	// built without CONFIG_FTRACE_SYSCALLS. It is also an ErrNotFound.
	ErrNoSyscalls = fmt.Errorf("%w: kernel built without CONFIG_FTRACE_SYSCALLS", ErrNotFound)
	// ErrNoTracefs says that this kernel has no tracefs at all: it was built
	// without CONFIG_TRACING.
	ErrNoTracefs = errors.New("no tracefs in this kernel")
)

// IDs reads the numbers of tracepoints from a tracefs. Errors for want of
// privilege match os.ErrPermission. Close it when all numbers are known;
// programs stay attached.
type IDs struct {
	dir    *os.File
	source string
}

// Open opens a tracefs that is mounted, else a detached one.
//
// The detached one takes CAP_SYS_ADMIN. Before Linux 5.19 opening another
// tracefs sets the mode of its root directory back to the default, 0700, like
// every other mount of it would: one more reason to prefer what is mounted.
func Open() (*IDs, error) {
	ids, err := openMounted(mountPoints())
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return ids, err
	}
	return openDetached()
}

// mountPoints returns where a tracefs may be mounted, the usual places first,
// then wherever it is, then the mounts of process 1: those of the host for a
// container that sees its processes.
func mountPoints() []string {
	paths := []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}
	// Without mountinfo the usual places must do.
	if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		paths = append(paths, parseMountInfo(string(text))...)
	}
	return append(paths, "/proc/1/root/sys/kernel/tracing")
}

// parseMountInfo returns where tracefs is mounted, see
// proc_pid_mountinfo(5): the fifth field is the mount point, the file system's
// type is the first after a lone "-".
func parseMountInfo(text string) []string {
	var paths []string
	for line := range strings.Lines(text) {
		mount, fs, ok := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if ok && strings.HasPrefix(fs, "tracefs ") && len(fields) > 4 {
			// Blanks in it are escaped in octal.
			path := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
			paths = append(paths, path)
		}
	}
	return paths
}

// openMounted opens the first path that is a tracefs. If none is, the error
// matches os.ErrNotExist.
func openMounted(paths []string) (*IDs, error) {
	for _, path := range paths {
		// O_PATH without O_DIRECTORY does not set off the automount that
		// debugfs has at "tracing", so looking changes nothing.
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // not there, or not for us: another place may be
		}
		dir := os.NewFile(uintptr(fd), path)
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err == nil && st.Type == unix.TRACEFS_MAGIC {
			return &IDs{dir: dir, source: path}, nil
		}
		dir.Close()
	}
	return nil, fmt.Errorf("find tracefs: %w", os.ErrNotExist)
}

// openDetached makes a mount of tracefs that has no place in any directory
// tree, shows in no list of mounts, and ends with its descriptor.
func openDetached() (*IDs, error) {
	context, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return nil, ErrNoTracefs
	}
	if err != nil {
		return nil, fmt.Errorf("open a detached tracefs: %w", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, fmt.Errorf("create a detached tracefs: %w", err)
	}
	const attr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return nil, fmt.Errorf("mount a detached tracefs: %w", err)
	}
	return &IDs{dir: os.NewFile(uintptr(fd), "tracefs"), source: "detached tracefs"}, nil
}

// Source says what is used: the path of a mounted tracefs, or "detached
// tracefs".
func (ids *IDs) Source() string { return ids.source }

// Close lets go of the tracefs.
func (ids *IDs) Close() error {
	if err := ids.dir.Close(); err != nil {
		return fmt.Errorf("close %s: %w", ids.source, err)
	}
	return nil
}

// ID returns the number of a tracepoint, as perf_event_open(2) takes it. The
// error matches ErrNotFound, and ErrNoSyscalls where it applies, when the
// kernel hasn't got it.
func (ids *IDs) ID(group, name string) (uint64, error) {
	if !isName(group) || !isName(name) {
		return 0, fmt.Errorf("tracepoint %q in group %q: not a name", name, group)
	}
	text, err := ids.read("events/" + group + "/" + name + "/id")
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("tracepoint %s:%s: %w", group, name, ids.whyMissing(group))
	}
	if err != nil {
		return 0, fmt.Errorf("read id of tracepoint %s:%s from %s: %w", group, name, ids.source, err)
	}
	id, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse id of tracepoint %s:%s: %w", group, name, err)
	}
	return id, nil
}

// isName keeps a path from leading out of tracefs.
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

func (ids *IDs) whyMissing(group string) error {
	if group != "syscalls" {
		return ErrNotFound
	}
	var st unix.Stat_t
	err := unix.Fstatat(int(ids.dir.Fd()), "events/syscalls", &st, 0)
	if errors.Is(err, unix.ENOENT) {
		return ErrNoSyscalls
	}
	return ErrNotFound
}

func (ids *IDs) read(path string) ([]byte, error) {
	fd, err := unix.Openat(int(ids.dir.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	return io.ReadAll(file)
}
