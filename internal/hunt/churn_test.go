package hunt

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockleak/internal/lifecycle"
	"sockleak/internal/workload"
)

// churnRing holds all events of a run, so that none depends on how fast the
// test reads.
const churnRing = 64 << 20

// TestChurn does 100,000 random operations in each run and compares the table,
// which knows nothing but the events, with the kernel. With -short, for emulated
// CPUs, it is 5,000.
func TestChurn(t *testing.T) {
	program := workload.Build(t, "fdchurn")
	operations := "100000"
	if testing.Short() {
		operations = "5000"
	}
	for _, test := range []struct {
		processes, threads int
		travel             bool // descriptors are passed by SCM_RIGHTS, too
	}{
		{4, 1, false}, {4, 1, true}, {4, 4, true}, {1, 16, true},
	} {
		name := fmt.Sprintf("%d processes of %d threads", test.processes, test.threads)
		if test.travel {
			name += " that pass descriptors"
		}
		t.Run(name, func(t *testing.T) {
			p := start(t, os.Args[0], "-test.run=^TestChurnProgram$", "--", strconv.FormatBool(test.travel),
				program, "7", operations, strconv.Itoa(test.processes), strconv.Itoa(test.threads))
			p.Ready()
			k := follow(t, p.PID, churnRing, false)
			if got := p.Send("go"); got != "done" {
				t.Fatalf("the program said %q", got)
			}
			k.drain()
			own := difference(k.own(k.table()), k.own(k.kernel()))
			repair := k.snapshot()
			skipped := k.lossless()
			t.Logf("%+v; %+v; %d programs skipped", repair, k.engine.table.Totals(), skipped)
			if diff := difference(k.table(), k.kernel()); diff != nil {
				t.Errorf("after a snapshot the table is not as /proc has it:\n%s", strings.Join(diff, "\n"))
			}
			switch {
			case skipped > 0: // and counted: the snapshot is there for that
			case test.threads > 1:
				if len(own) > maxRaced {
					t.Errorf("%d sockets were not as /proc had them:\n%s", len(own), strings.Join(own, "\n"))
				}
			case test.travel:
				if repair.Removed+repair.Changed > 0 || repair.Added > maxReceived {
					t.Errorf("a snapshot had to repair %+v", repair)
				}
			case repair != (lifecycle.Repair{}):
				t.Errorf("a snapshot had to repair %+v:\n%s", repair, strings.Join(own, "\n"))
			}
			if n := k.engine.table.Totals().Preexisting; n > 0 && skipped == 0 {
				t.Errorf("%d sockets from before anything was opened", n)
			}
		})
	}
}

const (
	// maxReceived is how many descriptors of a run are open at its end that
	// came by SCM_RIGHTS, of which no event tells: 0 to 2 in 15 runs.
	maxReceived = 12
	// maxRaced is how many sockets may differ in processes whose threads race:
	// one can close the descriptor that another is just being given. 0 in 12
	// runs.
	maxRaced = 4
)

// own leaves out the holders that were forked by a process of the run. With
// threads, what they hold isn't known before a snapshot: the kernel copies the
// table early in fork and tells of it late, and what other threads did
// meanwhile is in the parent's table only.
func (k *traced) own(all map[uint64]socket) map[uint64]socket {
	k.t.Helper()
	kept := map[uint64]socket{}
	for inode, s := range all {
		s.holders = slices.DeleteFunc(s.holders, func(h holder) bool { return parent(k.t, h.pid) != k.pgid })
		if s.descriptors = len(s.holders); s.descriptors > 0 {
			kept[inode] = s
		}
	}
	return kept
}

// parent returns the parent of a process, 0 if that is gone.
func parent(t *testing.T, pid int) int {
	t.Helper()
	f := stat(t, pid)
	if f == nil {
		return 0
	}
	return number(t, f[1])
}

// TestChurnProgram is no test: in a process of its own it waits for a line, so
// that tracing can begin, and becomes the program it was started for.
func TestChurnProgram(t *testing.T) {
	if flag.NArg() == 0 {
		return // started by go test, not by TestChurn
	}
	travel, err := strconv.ParseBool(flag.Arg(0))
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	if !travel {
		refuse(t, unix.SYS_SENDMSG)
	}
	fmt.Println("ready")
	if _, err := bufio.NewReaderSize(os.Stdin, 16).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	t.Fatal(syscall.Exec(flag.Arg(1), flag.Args()[1:], os.Environ()))
}

// refuse makes a system call fail with EPERM in this thread and all that comes
// of it.
func refuse(t *testing.T, call uint32) {
	const jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	// struct seccomp_data begins with the number of the call.
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: jumpEqual, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		t.Fatalf("set a seccomp filter: %v", err)
	}
}
