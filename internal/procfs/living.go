package procfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Living returns a number under which this /proc shows the memory, the root and
// the descriptors of a process. That is pid, unless its first thread has ended
// before others: then /proc/PID is that of a zombie, which has none of them, and
// the number is that of a thread that lives. proc(5) lists no threads beside the
// processes, but /proc/TID is there.
func (fs FS) Living(pid uint32) uint32 {
	if !fs.ended(pid) {
		return pid
	}
	names, err := os.ReadDir(fs.path(pid, "task"))
	if err != nil {
		return pid // gone as a whole
	}
	for _, name := range names {
		tid, err := strconv.ParseUint(name.Name(), 10, 32)
		if err == nil && !fs.ended(uint32(tid)) {
			return uint32(tid)
		}
	}
	return pid
}

// ended reports whether a thread is a zombie, or dead (states Z and X of proc(5)).
func (fs FS) ended(tid uint32) bool {
	text, err := os.ReadFile(filepath.Join(fs.path(tid, ""), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(" "))
	return bytes.HasPrefix(rest, []byte("Z ")) || bytes.HasPrefix(rest, []byte("X "))
}
