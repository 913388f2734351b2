package workload

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Sockets returns the open sockets of a process as /proc has them: inode by
// descriptor.
func Sockets(pid int) (map[int]uint64, error) {
	return socketsIn(fmt.Sprintf("/proc/%d/fd", pid))
}

// ThreadSockets is Sockets for the descriptor table of one thread, which is
// another than that of its process after unshare(CLONE_FILES).
func ThreadSockets(pid, tid int) (map[int]uint64, error) {
	return socketsIn(fmt.Sprintf("/proc/%d/task/%d/fd", pid, tid))
}

func socketsIn(dir string) (map[int]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	sockets := make(map[int]uint64)
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		if os.IsNotExist(err) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read descriptor: %w", err)
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, fmt.Errorf("parse descriptor: %w", err)
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("parse inode of descriptor %d: %w", fd, err)
		}
		sockets[fd] = inode
	}
	return sockets, nil
}
