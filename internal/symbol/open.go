package symbol

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// identity tells one file from another, also after an inode number was reused.
type identity struct {
	dev, inode uint64
	size       int64
	changed    unix.Timespec // ctime: nobody can set it back
}

func identify(st *unix.Stat_t) identity {
	return identity{dev: st.Dev, inode: st.Ino, size: st.Size, changed: st.Ctim}
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a regular file for reading. It looks before it opens: the
// path belongs to someone else, and opening a device or a pipe can do things.
func openRegular(path string) (*os.File, identity, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, identity{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	return reopenRegular(fd, path)
}

// openIn opens a regular file below root, with every symbolic link of its path
// followed inside root, as a process sees it whose root that is.
func openIn(root, path string) (*os.File, identity, error) {
	name := filepath.Join(root, path)
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, identity{}, fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, strings.TrimLeft(path, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, identity{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	return reopenRegular(fd, name)
}

// reopenRegular opens what an O_PATH descriptor stands for.
func reopenRegular(fd int, name string) (*os.File, identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, identity{}, fmt.Errorf("stat %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, identity{}, fmt.Errorf("open %s: %w", name, errNotRegular)
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, identity{}, fmt.Errorf("open %s: %w", name, err)
	}
	return f, identify(&st), nil
}
