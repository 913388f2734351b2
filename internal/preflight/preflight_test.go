package preflight

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockleak/internal/tracepoint"
)

func byName(t *testing.T, checks []Check) map[string]Check {
	t.Helper()
	m := make(map[string]Check)
	for _, c := range checks {
		if _, twice := m[c.Name]; twice {
			t.Errorf("two checks %q", c.Name)
		}
		m[c.Name] = c
	}
	return m
}

// everything is the name of every check in order.
var everything = []string{
	"kernel", "privilege", "kernel types (BTF)", "bpf(2)", "locked memory", "ring buffer", "kernel memory",
	"tracepoint ids", "system calls", "close_range(2)", "perf events", "tcp and processes", "descriptor iterator",
	"user registers", "other processes", "descriptor limit", "pid namespace",
}

func TestAllThere(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		sys := working()
		checks := run(sys, arch)
		var names []string
		for _, c := range checks {
			names = append(names, c.Name)
			if c.Status != OK || c.Detail == "" || c.Consequence != "" || c.Remedy != "" {
				t.Errorf("%+v", c)
			}
		}
		if !reflect.DeepEqual(names, everything) {
			t.Errorf("checks %q, want %q", names, everything)
		}
		if err := Fatal(checks); err != nil {
			t.Error(err)
		}
		if sys.openedIDs != 0 || !reflect.DeepEqual(sys.attachedIDs, []uint64{uint64(len(rareHook))}) {
			t.Errorf("left %d open, attached %d", sys.openedIDs, sys.attachedIDs)
		}
	}
}

func TestDup2OnARM64(t *testing.T) {
	sys := working()
	sys.lacks = []string{"sys_enter_dup2", "sys_exit_dup2"}
	for arch, want := range map[string]Status{"amd64": Missing, "arm64": OK} {
		if got := byName(t, run(sys, arch))["system calls"]; got.Status != want {
			t.Errorf("%s: %+v, want %s", arch, got, want)
		}
	}
}

// TestProblems breaks one thing at a time. What is not named must stay OK.
func TestProblems(t *testing.T) {
	statusWith := func(uid int, caps uint64, seccomp int) string {
		return fmt.Sprintf("Uid:\t9\t%d\t9\t9\nCapEff:\t%016x\nSeccomp:\t%d\n", uid, caps, seccomp)
	}
	const all = 1<<41 - 1
	missing := func(name, detail, remedy string) Check {
		return Check{Name: name, Required: true, Status: Missing, Detail: detail, Remedy: remedy}
	}
	degraded := func(name, detail, remedy string) Check {
		return Check{Name: name, Status: Degraded, Detail: detail, Remedy: remedy}
	}
	unknown := func(names ...string) (checks []Check) {
		for _, name := range names {
			checks = append(checks, Check{Name: name, Status: Unknown})
		}
		return checks
	}
	afterBPF := slices.Clip(everything[5:14])
	for _, test := range []struct {
		name   string
		broken func(*fake)
		want   []Check // Detail and Remedy by a part of them
	}{
		{"not root", func(f *fake) { f.files["/proc/self/status"] = userStatus }, append(unknown(everything[3:14]...),
			missing("privilege", "uid 1000 without CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)", "sudo"),
			degraded("other processes", "no CAP_SYS_PTRACE", "sudo"))},
		{"half of the capabilities", func(f *fake) { f.files["/proc/self/status"] = statusWith(1000, 1<<capBPF|1<<capSysPtrace, 0) },
			append(unknown(everything[3:14]...), missing("privilege", "uid 1000 without CAP_PERFMON (or", "sudo"))},
		{"container without capabilities", func(f *fake) { f.files["/proc/self/status"] = statusWith(0, 1<<capSysPtrace, 2) },
			append(unknown(everything[3:14]...), missing("privilege", "uid 0 without", "give the container CAP_SYS_ADMIN"))},
		{"user namespace", func(f *fake) { f.userNS = true },
			append(unknown(everything[3:14]...), missing("privilege", "root in a user namespace only", "outside of the user namespace"))},
		{"the two capabilities", func(f *fake) {
			f.files["/proc/self/status"] = statusWith(1000, 1<<capBPF|1<<capPerfmon|1<<capSysPtrace, 0)
		}, nil},
		{"own status unreadable", func(f *fake) { delete(f.files, "/proc/self/status") }, unknown("privilege", "other processes")},
		{"own status strange", func(f *fake) { f.files["/proc/self/status"] = "Uid:\t1\nCapEff:\txyz\n" }, unknown("privilege", "other processes")},
		{"own status empty", func(f *fake) { f.files["/proc/self/status"] = "" }, unknown("privilege", "other processes")},
		{"no ptrace", func(f *fake) { f.files["/proc/self/status"] = statusWith(0, all&^(1<<capSysPtrace), 0) },
			[]Check{degraded("other processes", "no CAP_SYS_PTRACE", "sudo")}},
		{"no release", func(f *fake) { f.releaseErr = syscall.EFAULT }, unknown("kernel")},

		{"bpf denied", func(f *fake) { f.mapErr = syscall.EPERM }, append(unknown(append(afterBPF, "locked memory")...),
			missing("bpf(2)", "denied by lockdown, seccomp or a security module, although", "seccomp profile"))},
		{"bpf denied under seccomp", func(f *fake) {
			f.mapErr, f.files["/proc/self/status"] = syscall.EPERM, statusWith(0, all, 2)
		}, append(unknown(append(afterBPF, "locked memory")...), missing("bpf(2)", "denied by a seccomp filter, which this process has", "seccomp profile"))},
		{"bpf denied under lockdown", func(f *fake) {
			f.mapErr, f.files["/sys/kernel/security/lockdown"] = syscall.EPERM, "none integrity [confidentiality]\n"
		}, append(unknown(append(afterBPF, "locked memory")...), missing("bpf(2)", "denied by kernel lockdown (confidentiality)", "run on the host"))},
		{"bpf denied and memlock not raised", func(f *fake) { f.mapErr, f.memlockErr, f.memlock = syscall.EPERM, syscall.EPERM, 64<<10 },
			append(unknown(append(afterBPF, "locked memory")...), missing("bpf(2)", "denied by lockdown, seccomp", "seccomp profile"))},
		{"no bpf", func(f *fake) { f.mapErr = syscall.ENOSYS },
			append(unknown(append(afterBPF, "locked memory")...), missing("bpf(2)", "no such system call", "CONFIG_BPF_SYSCALL"))},
		{"bpf fails otherwise", func(f *fake) { f.mapErr = fmt.Errorf("map create: %w", syscall.E2BIG) },
			append(unknown(append(afterBPF, "locked memory")...), missing("bpf(2)", "argument list too long", "bpf(2)"))},
		{"memlock low", func(f *fake) { f.memlock, f.memlockErr = 64<<10, syscall.EPERM },
			append(unknown(afterBPF...), missing("locked memory", "RLIMIT_MEMLOCK is 64 KiB and may not be raised", "ulimit -l unlimited"))},
		{"memlock zero", func(f *fake) { f.mapErr, f.memlockErr = syscall.EPERM, syscall.EPERM },
			append(unknown(append(afterBPF, "bpf(2)")...), missing("locked memory", "RLIMIT_MEMLOCK is 0 KiB", "ulimit -l unlimited"))},
		{"memlock not raised but enough", func(f *fake) { f.memlock, f.memlockErr = 64<<20, syscall.EPERM }, nil},

		{"no ring buffer", func(f *fake) { f.ringErr = syscall.EINVAL }, []Check{missing("ring buffer", "no BPF ring buffer: invalid argument", "5.8")}},
		{"no memory", func(f *fake) { f.ringErr = syscall.ENOMEM }, []Check{missing("ring buffer", "cannot allocate memory", "memory limit")}},
		{"lockdown", func(f *fake) {
			f.helperErr[asm.FnProbeReadKernel] = ebpf.ErrNotSupported
			f.files["/sys/kernel/security/lockdown"] = "none integrity [confidentiality]\n"
		}, []Check{missing("kernel memory", "lockdown (confidentiality)", "lockdown=integrity")}},
		{"lockdown unseen", func(f *fake) { f.helperErr[asm.FnProbeReadKernel] = ebpf.ErrNotSupported },
			[]Check{missing("kernel memory", "lockdown (most likely confidentiality)", "lockdown=integrity")}},
		{"lockdown that does no harm", func(f *fake) { f.files["/sys/kernel/security/lockdown"] = "none [integrity] confidentiality\n" }, nil},
		{"helpers unknown", func(f *fake) {
			f.helperErr[asm.FnProbeReadKernel], f.helperErr[asm.FnTaskPtRegs] = syscall.EBUSY, syscall.EBUSY
		}, unknown("kernel memory", "user registers")},
		{"no registers", func(f *fake) { f.helperErr[asm.FnTaskPtRegs] = ebpf.ErrNotSupported },
			[]Check{degraded("user registers", "no bpf_task_pt_regs", "5.15")}},

		{"no BTF", func(f *fake) { delete(f.files, "/sys/kernel/btf/vmlinux") },
			append(unknown("tcp and processes", "descriptor iterator"), missing("kernel types (BTF)", "no /sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y"))},
		{"no sysfs", func(f *fake) { delete(f.files, "/sys/kernel/btf/vmlinux"); delete(f.files, "/sys/kernel") },
			append(unknown("tcp and processes", "descriptor iterator"), missing("kernel types (BTF)", "/sys is not mounted", "mount -t sysfs"))},

		{"no tracefs", func(f *fake) { f.openErr = tracepoint.ErrNoTracefs },
			append(unknown("system calls", "close_range(2)", "perf events"), missing("tracepoint ids", "no tracefs in this kernel", "CONFIG_FTRACE=y"))},
		{"tracefs denied", func(f *fake) { f.openErr = fmt.Errorf("open a detached tracefs: %w", syscall.EPERM) },
			append(unknown("system calls", "close_range(2)", "perf events"), missing("tracepoint ids", "denied: operation not permitted", "sudo"))},
		{"tracefs fails", func(f *fake) { f.openErr = syscall.ENOSYS },
			append(unknown("system calls", "close_range(2)", "perf events"), missing("tracepoint ids", "function not implemented", "mount -t tracefs"))},
		{"some calls missing", func(f *fake) { f.lacks = []string{"sys_enter_close", "sys_exit_fcntl"} },
			[]Check{missing("system calls", "no tracepoint sys_enter_close, sys_exit_fcntl", "all of them")}},
		{"all calls missing", func(f *fake) {
			f.lackErr = tracepoint.ErrNoSyscalls
			f.lacks = append(syscallHooks("amd64"), closeRangeHooks[:]...)
		}, append(unknown("perf events"), missing("system calls", "none has a tracepoint", "CONFIG_FTRACE_SYSCALLS=y"),
			degraded("close_range(2)", "no tracepoint for it", "5.9"))},
		{"ids unreadable", func(f *fake) { f.lackErr, f.lacks = syscall.EACCES, syscallHooks("amd64") },
			append(unknown("perf events"), missing("system calls", "cannot be read: permission denied", "remount,gid=GROUP"))},
		{"ids broken", func(f *fake) { f.lackErr, f.lacks = errors.New("parse id"), []string{"sys_exit_dup"} },
			[]Check{missing("system calls", "parse id", "tracefs")}},
		{"no close_range", func(f *fake) { f.lacks = closeRangeHooks[:] }, []Check{degraded("close_range(2)", "no tracepoint for it", "5.9")}},
		{"perf events denied", func(f *fake) { f.attachErr = fmt.Errorf("open perf event: %w", syscall.EACCES) },
			[]Check{missing("perf events", "perf_event_open(2) is denied by", "seccomp profile")}},
		{"no perf events", func(f *fake) { f.attachErr = syscall.ENOENT },
			[]Check{missing("perf events", "no such file or directory", "CONFIG_BPF_EVENTS=y")}},

		{"no typed tracepoints", func(f *fake) {
			f.byType["tcp_destroy_sock"], f.byType["sched_process_exec"] = ebpf.ErrNotSupported, ebpf.ErrNotSupported
		}, []Check{missing("tcp and processes", "no typed tracepoint (tp_btf) tcp_destroy_sock, sched_process_exec", "CONFIG_DEBUG_INFO_BTF=y")}},
		{"typed tracepoints fail", func(f *fake) { f.byType["inet_sock_set_state"] = syscall.EINVAL },
			[]Check{missing("tcp and processes", "inet_sock_set_state: invalid argument", "5.8")}},
		{"no iterator", func(f *fake) { f.byType["task_file"] = ebpf.ErrNotSupported },
			[]Check{missing("descriptor iterator", "no BPF iterator over task_file", "5.8")}},
		{"iterator fails", func(f *fake) { f.byType["task_file"] = syscall.EBUSY },
			[]Check{missing("descriptor iterator", "task_file: device or resource busy", "5.8")}},

		{"few descriptors", func(f *fake) { f.noFile = 256 }, []Check{degraded("descriptor limit", "256 open files", "ulimit -n")}},
		{"no descriptors", func(f *fake) { f.noFile = 64 }, []Check{missing("descriptor limit", "64 open files", "ulimit -n")}},
		{"pid namespace", func(f *fake) { f.pidNS = true }, []Check{degraded("pid namespace", "pid namespace of its own", "--pid=host")}},
		{"own facts unreadable", func(f *fake) { f.nsErr = syscall.ENOENT }, unknown("descriptor limit", "pid namespace")},
	} {
		t.Run(test.name, func(t *testing.T) {
			sys := working()
			test.broken(sys)
			checks := run(sys, "amd64")
			got := byName(t, checks)
			if names := slices.Sorted(maps.Keys(got)); !reflect.DeepEqual(names, slices.Sorted(slices.Values(everything))) {
				t.Errorf("checks %q", names)
			}
			fatal := 0
			for _, want := range test.want {
				c := got[want.Name]
				delete(got, want.Name)
				if c.Status != want.Status || !strings.Contains(c.Detail, want.Detail) || !strings.Contains(c.Remedy, want.Remedy) {
					t.Errorf("got %+v\nwant %+v", c, want)
				}
				if told := c.Consequence != "" && c.Remedy != ""; told != (c.Status != Unknown) || c.Detail == "" {
					t.Errorf("not well explained: %+v", c)
				}
				if want.Required {
					fatal++
				}
			}
			for _, c := range got {
				if c.Status != OK {
					t.Errorf("beside: %+v", c)
				}
			}
			checkFatal(t, checks, fatal)
			if sys.openedIDs != 0 {
				t.Errorf("left tracefs open")
			}
		})
	}
}

// checkFatal: the error has all of the n missing requirements, and tells all.
func checkFatal(t *testing.T, checks []Check, n int) {
	t.Helper()
	err := Fatal(checks)
	var fatal *Error
	if !errors.As(err, &fatal) {
		if n > 0 || err != nil {
			t.Errorf("Fatal: %v, want %d missing", err, n)
		}
		return
	}
	if len(fatal.Missing) != n {
		t.Errorf("%d missing, want %d: %v", len(fatal.Missing), n, err)
	}
	words := strings.Join(strings.Fields(err.Error()), " ")
	for _, c := range fatal.Missing {
		for _, part := range []string{c.Name, c.Detail, c.Consequence, c.Remedy} {
			if !strings.Contains(words, part) {
				t.Errorf("error does not say %q:\n%v", part, err)
			}
		}
	}
}

func TestSeveralProblems(t *testing.T) {
	sys := working()
	sys.ringErr = syscall.EINVAL
	sys.byType["task_file"] = ebpf.ErrNotSupported
	const want = `cannot trace on this machine
  ring buffer: no BPF ring buffer: invalid argument
    what it costs you: no way for events to reach sockleak
    what to do:        use Linux 5.8 or later
  descriptor iterator: no BPF iterator over task_file
    what it costs you: what is open cannot be confirmed, so nothing could be
                       reported
    what to do:        use Linux 5.8 or later`
	if err := Fatal(run(sys, "amd64")); err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestText(t *testing.T) {
	checks := []Check{
		{Name: "kernel", Status: OK, Detail: "6.1.0 x86_64"},
		{Name: "privilege", Required: true, Status: Missing, Detail: "uid 1000", Consequence: "nothing works", Remedy: "run it with sudo"},
		{Name: "bpf(2)", Required: true, Status: Unknown, Detail: "not tried"},
		{Name: "a name that is longer than", Status: Degraded, Detail: strings.Repeat("word ", 12), Consequence: strings.Repeat("costs ", 12)},
		{Name: "empty", Status: OK},
	}
	const want = `ok        kernel               6.1.0 x86_64
MISSING   privilege            uid 1000
          what it costs you: nothing works
          what to do:        run it with sudo
unknown   bpf(2)               not tried
degraded  a name that is longer than word word word word word word word word
                               word word word word
          what it costs you: costs costs costs costs costs costs costs costs
                             costs costs costs costs
ok        empty
`
	var b strings.Builder
	if err := Text(&b, checks); err != nil || b.String() != want {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, b.String(), want)
	}
	if err := Text(failing{}, checks); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("to a closed pipe: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestJSON(t *testing.T) {
	got, err := json.Marshal([]Check{needRing.ok("yes"), needRegisters.without("no", "cost", "do")})
	const want = `[{"name":"ring buffer","required":true,"status":"ok","detail":"yes"},` +
		`{"name":"user registers","required":false,"status":"degraded","detail":"no","consequence":"cost","remedy":"do"}]`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// childEnv makes the test binary, started again, run the checks and print
// them as JSON.
const childEnv = "SOCKLEAK_PREFLIGHT_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := json.NewEncoder(os.Stdout).Encode(Run()); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestUnprivileged(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	uid := os.Getuid()
	if uid == 0 {
		uid = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var checks []Check
	if err := json.Unmarshal(out, &checks); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := byName(t, checks)["privilege"]
	want := Check{
		Name: "privilege", Required: true, Status: Missing,
		Detail:      fmt.Sprintf("uid %d without CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)", uid),
		Consequence: "the kernel lets sockleak load no BPF program: nothing can be traced",
		Remedy:      "run it with sudo",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var fatal *Error
	if err := Fatal(checks); !errors.As(err, &fatal) || !slices.Contains(fatal.Missing, want) {
		t.Errorf("Fatal: %v", err)
	}
}

// TestThisMachine: as root, no check may fail to find out, and nothing may be
// left behind.
func TestThisMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to try BPF")
	}
	start := time.Now()
	checks := Run()
	took := time.Since(start)
	before := descriptors(t)
	again := Run()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
	if !reflect.DeepEqual(checks, again) {
		t.Errorf("not the same twice:\n%+v\n%+v", checks, again)
	}
	for _, c := range checks {
		if c.Status == Unknown && Fatal(checks) == nil {
			t.Errorf("%+v", c)
		}
	}
	var b strings.Builder
	if err := Text(&b, checks); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > width+1 {
			t.Errorf("line too long: %q", line)
		}
	}
	t.Logf("in %v:\n%s", took, b.String())
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestOneRefused: when one program is refused, the others still get their own
// answer.
func TestOneRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to load BPF programs")
	}
	errs := kernel{}.AttachByType([]hook{
		{ebpf.AttachTraceRawTp, "sched_process_exec"},
		{ebpf.AttachTraceRawTp, "no_such_tracepoint"},
		{ebpf.AttachTraceIter, "no_such_iterator"},
		{ebpf.AttachTraceIter, "task_file"},
	})
	if errs[0] != nil || errs[3] != nil || !errors.Is(errs[1], ebpf.ErrNotSupported) || !errors.Is(errs[2], ebpf.ErrNotSupported) {
		t.Errorf("%v", errs)
	}
}
