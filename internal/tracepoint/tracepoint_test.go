package tracepoint

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/procfs"
)

func TestParseMountInfo(t *testing.T) {
	text := `24 31 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
36 24 0:12 / /sys/kernel/tracing rw shared:13 master:1 - tracefs tracefs rw
37 24 0:7 / /sys/kernel/debug rw - debugfs debugfs rw
38 31 0:12 / /mnt/a\040b\134c rw,relatime - tracefs x rw,mode=755
39 31 0:12 / /mnt/tracefs rw - tmpfs tracefs rw
- tracefs
short - tracefs x
`
	want := []string{"/sys/kernel/tracing", `/mnt/a b\c`}
	if got := parseMountInfo(text); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// fake is a directory that looks like tracefs.
func fake(t *testing.T, files map[string]string) *IDs {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	ids := &IDs{dir: dir, source: "fake"}
	t.Cleanup(func() { ids.Close() })
	return ids
}

func TestID(t *testing.T) {
	files := map[string]string{"events/syscalls/sys_enter_close/id": "123\n", "events/sock/bad/id": "x\n", "id": "1"}
	none := map[string]string{"events/sock/bad/id": "x\n"}
	for _, test := range []struct {
		files       map[string]string
		group, name string
		want        uint64
		is          error
		text        string
	}{
		{files, "syscalls", "sys_enter_close", 123, nil, ""},
		{files, "syscalls", "sys_enter_x", 0, ErrNotFound, "tracepoint syscalls:sys_enter_x: no such tracepoint"},
		{none, "syscalls", "sys_enter_close", 0, ErrNoSyscalls, "no such tracepoint: kernel built without CONFIG_FTRACE_SYSCALLS"},
		{none, "sock", "x", 0, ErrNotFound, "tracepoint sock:x: no such tracepoint"},
		{files, "sock", "bad", 0, nil, "parse id of tracepoint sock:bad"},
		{files, "..", "..", 0, nil, "not a name"},
		{files, "syscalls", "", 0, nil, "not a name"},
		{files, "a/b", "c", 0, nil, "not a name"},
	} {
		got, err := fake(t, test.files).ID(test.group, test.name)
		if test.text == "" {
			if got != test.want || err != nil {
				t.Errorf("%s:%s: got %d, %v, want %d", test.group, test.name, got, err, test.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.text) || (test.is != nil) != errors.Is(err, ErrNotFound) ||
			(test.is == ErrNoSyscalls) != errors.Is(err, ErrNoSyscalls) {
			t.Errorf("%s:%s: got %d, %v, want an error with %q", test.group, test.name, got, err, test.text)
		}
	}
}

func TestOpenMounted(t *testing.T) {
	ids, err := openMounted([]string{"/nowhere", t.TempDir()})
	if ids != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opened a directory that is no tracefs: %v, %v", ids, err)
	}
}

func mountInfo(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDetached: whatever is mounted, the detached tracefs works, and shows
// nowhere.
func TestDetached(t *testing.T) {
	needs.Root(t)
	before := mountInfo(t)
	ids, err := openDetached()
	if err != nil {
		t.Fatal(err)
	}
	defer ids.Close()
	id, err := ids.ID("syscalls", "sys_enter_close")
	if err != nil || id == 0 {
		t.Errorf("ID: %d, %v", id, err)
	}
	if _, err := ids.ID("syscalls", "sys_enter_no_such_call"); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoSyscalls) {
		t.Errorf("ID of no system call: %v", err)
	}
	_, err = unix.Openat(int(ids.dir.Fd()), "tracing_on", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v, want EROFS", err)
	}
	if during := mountInfo(t); during != before {
		t.Errorf("mounts changed:\n%s", during)
	}
	// What Open chooses must know the same numbers.
	chosen, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer chosen.Close()
	if same, err := chosen.ID("syscalls", "sys_enter_close"); same != id || err != nil {
		t.Errorf("%s says %d, %v, detached says %d", chosen.Source(), same, err, id)
	}
	if during := mountInfo(t); during != before {
		t.Errorf("mounts changed:\n%s", during)
	}
}

// TestMountedElsewhere mounts tracefs in a mount namespace of one thread.
func TestMountedElsewhere(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	var ids *IDs
	var errs []error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		step := func(err error) { errs = append(errs, err) }
		step(unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS))
		step(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		step(unix.Mount("none", dir, "tracefs", unix.MS_RDONLY, ""))
		var err error
		ids, err = openMounted([]string{"/nowhere", dir})
		step(err)
	}()
	<-done
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	defer ids.Close()
	if id, err := ids.ID("sched", "sched_process_exit"); id == 0 || err != nil || ids.Source() != dir {
		t.Errorf("ID: %d, %v from %s", id, err, ids.Source())
	}
}

// counter returns a program that counts its runs in a map.
func counter(t *testing.T) (*ebpf.Program, func() uint64) {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counts.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "count", Type: ebpf.TracePoint, License: "GPL",
		Instructions: asm.Instructions{
			// Only this process: others make the call as well.
			asm.FnGetCurrentPidTgid.Call(),
			asm.RSh.Imm(asm.R0, 32),
			asm.JNE.Imm(asm.R0, int32(os.Getpid()), "out"),
			asm.StoreImm(asm.R10, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog, func() uint64 {
		var n uint64
		if err := counts.Lookup(uint32(0), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func sysEnterID(t *testing.T, call string) uint64 {
	t.Helper()
	ids, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ids.Close()
	id, err := ids.ID("syscalls", "sys_enter_"+call)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// onEveryCPU makes calls of getppid(2) on each CPU and returns how many.
func onEveryCPU(t *testing.T) uint64 {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Error(err)
		}
	}()
	var calls uint64
	for cpu := range 1024 {
		if !all.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			syscall.Syscall(unix.SYS_GETPPID, 0, 0, 0)
			calls++
		}
	}
	return calls
}

func TestAttach(t *testing.T) {
	needs.Root(t)
	if initial, err := procfs.New("").InInitialPIDNS(); err != nil || !initial {
		t.Skipf("needs to know its own number in the initial pid namespace: %v, %v", initial, err)
	}
	id := sysEnterID(t, "getppid")
	for name, attach := range map[string]func(*ebpf.Program) (io.Closer, error){
		"as the kernel can": func(p *ebpf.Program) (io.Closer, error) { return Attach(id, p) },
		"by ioctl": func(p *ebpf.Program) (io.Closer, error) {
			event, err := openEvent(id)
			if err != nil {
				return nil, err
			}
			return event, attachByIoctl(event, p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			prog, count := counter(t)
			attached, err := attach(prog)
			if err != nil {
				t.Fatal(err)
			}
			calls := onEveryCPU(t)
			if got := count(); got != calls {
				t.Errorf("ran %d times in %d calls", got, calls)
			}
			if err := attached.Close(); err != nil {
				t.Error(err)
			}
			onEveryCPU(t)
			if got := count(); got != calls {
				t.Errorf("ran %d times more after it was closed", got-calls)
			}
		})
	}
}

func TestAttachErrors(t *testing.T) {
	needs.Root(t)
	prog, _ := counter(t)
	if c, err := Attach(1<<40, prog); err == nil || !strings.Contains(err.Error(), "open perf event of tracepoint 1099511627776: ") {
		t.Errorf("no such number: %v, %v", c, err)
	}
	// No other program type may slip through: the kernel would look at the
	// wrong context.
	filter, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer filter.Close()
	if c, err := Attach(sysEnterID(t, "getppid"), filter); err == nil || !strings.Contains(err.Error(), "program type SocketFilter, not TracePoint") {
		t.Errorf("wrong program type: %v, %v", c, err)
	}
}
