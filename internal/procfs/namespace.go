package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// initialPIDNS is the inode number of the initial pid namespace: the kernel
// gives it a fixed one (PROC_PID_INIT_INO).
const initialPIDNS = 0xEFFFFFFC

// ErrNestedPIDNS says that a process number cannot be translated: we are in a
// pid namespace of our own and /proc shows no other.
var ErrNestedPIDNS = errors.New("the initial pid namespace is not visible in /proc")

// InInitialPIDNS reports whether we ourselves run in the initial pid
// namespace, the one whose numbers kernel events carry.
func (fs FS) InInitialPIDNS() (bool, error) {
	own, err := fs.ownNamespace("pid")
	return own == initialPIDNS, err
}

// ownNamespace returns the inode number of one of our namespaces.
func (fs FS) ownNamespace(kind string) (uint64, error) {
	name := filepath.Join(fs.root, "self", "ns", kind)
	link, err := os.Readlink(name)
	if err != nil {
		return 0, fmt.Errorf("read own %s namespace: %w", kind, err)
	}
	return parseNamespace(kind, link)
}

// parseNamespace reads "pid:[4026531836]".
func parseNamespace(kind, link string) (uint64, error) {
	inode, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, kind+":["), "]"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %s namespace %q: %w", kind, link, err)
	}
	return inode, nil
}

// InitialPID translates a process number of our own pid namespace into that
// of the initial one. In the initial one that is the same number, whether such
// a process exists or not. In a nested one it needs the initial one's /proc
// mounted at our root (as in a container with the host's /proc) and the right
// to ptrace(2) the process, and returns ErrNestedPIDNS when it isn't, and
// ErrNoProcess when no process has the number.
func (fs FS) InitialPID(pid uint32) (uint32, error) {
	own, err := fs.ownNamespace("pid")
	if err != nil {
		return 0, err
	}
	if own == initialPIDNS {
		return pid, nil
	}
	text, err := os.ReadFile(filepath.Join(fs.root, "self", "status"))
	if err != nil {
		return 0, fmt.Errorf("read own status: %w", err)
	}
	levels, err := statusNumbers(text, "NSpid")
	if err != nil {
		return 0, fmt.Errorf("parse own status: %w", err)
	}
	initial, err := fs.showsInitial()
	if err != nil {
		return 0, err
	}
	// NSpid starts at the namespace of this /proc: when that is our own,
	// there is one number, else this may be one in between.
	if len(levels) < 2 || !initial {
		return 0, fmt.Errorf("translate pid %d: %w", pid, ErrNestedPIDNS)
	}
	depth := len(levels) - 1 // of our namespace, below that of /proc
	found, err := fs.find(func(numbers []uint32) bool {
		return len(numbers) > depth && numbers[depth] == pid
	})
	if err != nil {
		return 0, err
	}
	for _, candidate := range found {
		// A namespace beside ours, as deep, has the same numbers.
		if fs.inNamespace(candidate.pid, len(candidate.numbers)-1-depth, own) {
			return candidate.pid, nil
		}
	}
	return 0, fmt.Errorf("process %d of pid namespace %d: %w", pid, own, ErrNoProcess)
}

// showsInitial reports whether this /proc is that of the initial pid
// namespace: kernel threads live there only, and process 2 is their parent.
// (The namespace of process 1 would say it too, but may often not be read.)
func (fs FS) showsInitial() (bool, error) {
	text, err := os.ReadFile(fs.path(2, "stat"))
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read stat of process 2: %w", err)
	}
	const flags, kernelThread = 9 - 3, 0x00200000 // proc(5); PF_KTHREAD
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= flags {
		return false, fmt.Errorf("parse stat of process 2: %w", errShort)
	}
	set, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	if err != nil {
		return false, fmt.Errorf("parse stat of process 2: %w", err)
	}
	return set&kernelThread != 0, nil
}

// inNamespace reports whether the pid namespace that lies up levels above that
// of the process is the one with the inode number. Not, when we may not look.
func (fs FS) inNamespace(pid uint32, up int, inode uint64) bool {
	fd, err := unix.Open(fs.path(pid, "ns/pid"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { unix.Close(fd) }()
	for range up {
		parent, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		if err != nil {
			return false
		}
		unix.Close(fd)
		fd = parent
	}
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Ino == inode
}

// ByInnerPID returns the processes, in order, that know themselves by the
// number pid in a pid namespace below that of this /proc: what the user of a
// container may mean by it.
func (fs FS) ByInnerPID(pid uint32) ([]uint32, error) {
	found, err := fs.find(func(numbers []uint32) bool {
		return len(numbers) > 1 && numbers[len(numbers)-1] == pid
	})
	if err != nil {
		return nil, err
	}
	var pids []uint32
	for _, candidate := range found {
		pids = append(pids, candidate.pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// numbered is a process with its number in each pid namespace it is in.
type numbered struct {
	pid     uint32
	numbers []uint32
}

// find looks at every process there is. Those that end meanwhile are left out.
func (fs FS) find(match func(numbers []uint32) bool) ([]numbered, error) {
	pids, err := fs.PIDs()
	if err != nil {
		return nil, err
	}
	var found []numbered
	for _, pid := range pids {
		text, err := os.ReadFile(fs.path(pid, "status"))
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read status of process %d: %w", pid, err)
		}
		numbers, err := statusNumbers(text, "NSpid")
		if err != nil {
			return nil, fmt.Errorf("parse status of process %d: %w", pid, err)
		}
		if match(numbers) {
			found = append(found, numbered{pid, numbers})
		}
	}
	return found, nil
}

// PIDs returns the numbers of all processes in /proc, threads left out, in no
// particular order.
func (fs FS) PIDs() ([]uint32, error) {
	dir, err := os.Open(fs.root)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []uint32
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}
