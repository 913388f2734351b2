package deepstack

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memlock lets the profiler raise RLIMIT_MEMLOCK.
//
// It does so before every map that it makes, and gives up when it
// may not, although Linux has not looked at that limit for BPF since 5.11 (memory
// is charged to the cgroup). Raising it takes CAP_SYS_RESOURCE, which root in a
// container rarely has. Where it is missing, the two threads that load something
// get a seccomp filter that answers the call with success: the one that starts
// the profiler, and the one on which the profiler looks at processes. Both are
// locked to their goroutine and end with it, and no thread or process is started
// from them, so nothing else has the filter.
type memlock struct{ needed bool }

func newMemlock() *memlock { return &memlock{needed: !mayRaise()} }

// during calls f on a thread that has the filter, if it is needed.
func (m *memlock) during(f func() error) error {
	if !m.needed {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		if err := onlyHere(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// onlyHere installs the filter for this goroutine alone. It is never unlocked
// from its thread: the runtime ends the thread with the goroutine, and starts
// new threads from another one meanwhile.
func onlyHere() error {
	runtime.LockOSThread()
	return ignoreMemlock()
}

// mayRaise tries what the profiler will do.
func mayRaise() bool {
	var old unix.Rlimit
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &all, &old) != nil {
		return false
	}
	return unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &old, nil) == nil
}

// ignoreMemlock makes prlimit64 of RLIMIT_MEMLOCK do nothing, for this thread.
func ignoreMemlock() error {
	const (
		nr   = 0      // struct seccomp_data.nr
		arg1 = 16 + 8 // struct seccomp_data.args[1], the low half
		zero = unix.SECCOMP_RET_ERRNO
	)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_PRLIMIT64},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: arg1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.RLIMIT_MEMLOCK},
		{Code: unix.BPF_RET | unix.BPF_K, K: zero},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without CAP_SYS_ADMIN a filter needs no_new_privs, which is the thread's too.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("install a seccomp filter: %w", errno)
	}
	return nil
}
