package procfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namesPerRead bounds the memory that a process with a million descriptors
// costs us.
const namesPerRead = 1024

// CountFDs returns the number of descriptors the process has, of any kind. On
// Linux 6.2 and later that takes one look; before, it reads the directory, which
// takes about 0.5 ms for a thousand.
func (fs FS) CountFDs(pid uint32) (int, error) {
	n, err := fs.countFDs(pid)
	if n > 0 || err == nil && !fs.ended(pid) {
		return n, err
	}
	if living := fs.Living(pid); living != pid {
		return fs.countFDs(living)
	}
	return n, err
}

func (fs FS) countFDs(pid uint32) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(fs.path(pid, "fd"), &st); err != nil {
		return 0, fs.noProcess(pid, err)
	}
	// The kernel counts for us since f1f1f2569901 ("proc: report open files
	// as size in stat() for /proc/pid/fd"). Zero says that it does not, or
	// that there are none.
	if st.Size > 0 {
		if on, err := isProc(fs.root); err != nil {
			return 0, err
		} else if on {
			return int(st.Size), nil
		}
	}
	n := 0
	err := fs.eachFD(pid, func(_ *os.File, names []string) error {
		n += len(names)
		return nil
	})
	return n, err
}

// isProc: only there does the size of a directory have a meaning.
func isProc(root string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return false, fmt.Errorf("look at the file system %s: %w", root, err)
	}
	return st.Type == unix.PROC_SUPER_MAGIC, nil
}

// SocketInodes returns the sockets among the descriptors of a process: the
// inode number on sockfs by descriptor. It takes the right to ptrace(2) the
// process. The descriptors are read one after another while the process runs.
func (fs FS) SocketInodes(pid uint32) (map[int32]uint64, error) {
	sockets := make(map[int32]uint64)
	var link [64]byte
	err := fs.eachFD(pid, func(dir *os.File, names []string) error {
		for _, name := range names {
			n, err := unix.Readlinkat(int(dir.Fd()), name, link[:])
			if errors.Is(err, unix.ENOENT) {
				continue // closed since its name was read
			}
			if err != nil {
				return err
			}
			inode, ok := parseSocket(string(link[:n]))
			if !ok {
				continue
			}
			fd, err := strconv.ParseInt(name, 10, 32)
			if err != nil {
				return err
			}
			sockets[int32(fd)] = inode
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sockets, nil
}

// parseSocket reads "socket:[123]".
func parseSocket(link string) (uint64, bool) {
	rest, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(digits, 10, 64)
	return inode, err == nil
}

// eachFD calls visit with the names in /proc/PID/fd, many at a time.
func (fs FS) eachFD(pid uint32, visit func(dir *os.File, names []string) error) error {
	p, err := fs.open(pid)
	if err != nil {
		return err
	}
	defer p.Close()
	dir, err := p.Open("fd")
	if err != nil {
		return p.fail("fd", err)
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(namesPerRead)
		if err == nil {
			err = visit(dir, names)
		}
		switch {
		case errors.Is(err, io.EOF):
			return p.alive()
		case err != nil:
			return p.fail("fd", err)
		}
	}
}

// alive tells "has no descriptors" from "ended while its directory was read",
// which ends the directory early.
func (p process) alive() error {
	if _, err := p.Stat("stat"); isGone(err) {
		return p.fail("stat", syscall.ESRCH)
	}
	return nil
}
