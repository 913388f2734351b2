// Package rootfile opens files that belong to someone else: by paths that another
// process chose, and as that process sees them.
package rootfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity tells one file from another, also after an inode number was reused, and
// from itself after it was changed.
type Identity struct {
	Dev, Inode uint64
	size       int64
	changed    unix.Timespec // ctime: nobody can set it back
}

// Identify returns the identity of a file by what stat(2) says of it.
func Identify(st *unix.Stat_t) Identity {
	return Identity{Dev: st.Dev, Inode: st.Ino, size: st.Size, changed: st.Ctim}
}

// ErrNotRegular says that there is something else than a regular file.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a regular file for reading. It looks before it opens: the path belongs
// to someone else, and opening a device or a pipe can do things.
func Open(path string) (*os.File, Identity, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	return reopenRegular(fd, path)
}

// OpenIn opens a regular file below root, with every symbolic link of its path
// followed inside root, as a process sees it whose root that is. A process has its
// own at /proc/PID/root (proc_pid_root(5)).
func OpenIn(root, path string) (*os.File, Identity, error) {
	name := filepath.Join(root, path)
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, strings.TrimLeft(path, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	return reopenRegular(fd, name)
}

// reopenRegular opens what an O_PATH descriptor stands for.
func reopenRegular(fd int, name string) (*os.File, Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, Identity{}, fmt.Errorf("stat %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, Identity{}, fmt.Errorf("open %s: %w", name, ErrNotRegular)
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("open %s: %w", name, err)
	}
	return f, Identify(&st), nil
}
