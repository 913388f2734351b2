package preflight

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockleak/internal/deepstack"
	"sockleak/internal/tracepoint"
)

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
	noSyslog := degraded("kernel symbols", "no CAP_SYSLOG", "CAP_SYSLOG")
	noComplete := func(why string) Check { return degraded("stacks, tier 1", "no kernel symbols: "+why, "") }
	afterBPF := slices.Clip(everything[5:16])
	for _, test := range []struct {
		name   string
		broken func(*fake)
		want   []Check // Detail and Remedy by a part of them
	}{
		{"not root", func(f *fake) { f.files["/proc/self/status"] = userStatus }, append(unknown(everything[3:16]...),
			missing("privilege", "uid 1000 without CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)", "sudo"),
			degraded("other processes", "no CAP_SYS_PTRACE", "sudo"), noSyslog)},
		{"half of the capabilities", func(f *fake) { f.files["/proc/self/status"] = statusWith(1000, 1<<capBPF|1<<capSysPtrace, 0) },
			append(unknown(everything[3:16]...), missing("privilege", "uid 1000 without CAP_PERFMON (or", "sudo"), noSyslog)},
		{"container without capabilities", func(f *fake) { f.files["/proc/self/status"] = statusWith(0, 1<<capSysPtrace, 2) },
			append(unknown(everything[3:16]...), missing("privilege", "uid 0 without", "give the container CAP_SYS_ADMIN"), noSyslog)},
		{"user namespace", func(f *fake) { f.userNS = true },
			append(unknown(everything[3:16]...), missing("privilege", "root in a user namespace only", "outside of the user namespace"))},
		{"the two capabilities", func(f *fake) {
			f.files["/proc/self/status"] = statusWith(1000, 1<<capBPF|1<<capPerfmon|1<<capSysPtrace, 0)
		}, []Check{noSyslog, noComplete("no CAP_SYSLOG")}},
		{"kernel symbols for everybody", func(f *fake) {
			f.files["/proc/self/status"] = statusWith(1000, 1<<capBPF|1<<capPerfmon|1<<capSysPtrace, 0)
			f.files["/proc/sys/kernel/perf_event_paranoid"] = "1\n"
		}, nil},
		{"kernel symbols for nobody", func(f *fake) { f.files["/proc/sys/kernel/kptr_restrict"] = "2\n" },
			[]Check{degraded("kernel symbols", "kptr_restrict is 2", "sysctl"), noComplete("kernel.kptr_restrict is 2")}},
		{"no kernel symbols", func(f *fake) { f.symbolsErr = fmt.Errorf("open: %w", syscall.ENOENT) },
			[]Check{degraded("kernel symbols", "no such file", "CONFIG_KALLSYMS"), noComplete("no such file")}},
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
		{"bpf denied and memlock low", func(f *fake) { f.mapErr, f.memlockErr, f.memlock = syscall.EPERM, syscall.EPERM, 64<<10 },
			append(unknown(append(afterBPF, "bpf(2)")...), missing("locked memory", "RLIMIT_MEMLOCK is 64 KiB and may not be raised", "ulimit -l unlimited"))},
		{"bpf denied and memlock enough", func(f *fake) { f.mapErr, f.memlockErr, f.memlock = syscall.EPERM, syscall.EPERM, 64<<20 },
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
			f.helperErr[asm.FnProbeReadKernel], f.regsErr = syscall.EBUSY, syscall.EBUSY
		}, unknown("kernel memory", "user registers", "stacks, tier 1")},
		{"no uprobes", func(f *fake) { f.uprobeErr = syscall.EPERM },
			[]Check{degraded("uprobes", "operation not permitted", "CONFIG_UPROBE_EVENTS")}},
		{"uprobes want more privilege", func(f *fake) { f.uprobeErr = fmt.Errorf("open perf event: %w", syscall.EACCES) },
			[]Check{degraded("uprobes", "permission denied", "add CAP_SYS_ADMIN")}},
		{"no registers", func(f *fake) { f.regsErr = deepstack.ErrNoRegisters },
			[]Check{degraded("user registers", "no bpf_task_pt_regs", "5.15"), degraded("stacks, tier 1", "no bpf_task_pt_regs", "5.15")}},

		{"no BTF", func(f *fake) { delete(f.files, "/sys/kernel/btf/vmlinux") },
			append(unknown("tcp and processes", "descriptor iterator"), missing("kernel types (BTF)", "no /sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y"))},
		{"no sysfs", func(f *fake) { delete(f.files, "/sys/kernel/btf/vmlinux"); delete(f.files, "/sys/kernel") },
			append(unknown("tcp and processes", "descriptor iterator"), missing("kernel types (BTF)", "/sys is not mounted", "mount -t sysfs"))},
		{"BTF hidden", func(f *fake) { f.btfErr = syscall.EACCES },
			append(unknown("tcp and processes", "descriptor iterator"), missing("kernel types (BTF)", "vmlinux: permission denied", "readable"))},

		{"no tracefs", func(f *fake) { f.openErr = tracepoint.ErrNoTracefs },
			append(unknown("system calls", "close_range(2)", "perf events"), missing("tracepoint ids", "no tracefs in this kernel", "CONFIG_FTRACE=y"))},
		{"tracefs denied", func(f *fake) { f.openErr = fmt.Errorf("open a detached tracefs: %w", syscall.EPERM) },
			append(unknown("system calls", "close_range(2)", "perf events"), missing("tracepoint ids", "is denied by lockdown", "mount -t tracefs"))},
		{"tracefs takes a capability", func(f *fake) {
			f.openErr = fmt.Errorf("open a detached tracefs: %w", syscall.EPERM)
			f.files["/proc/self/status"] = statusWith(1000, all&^(1<<capSysAdmin), 0)
		}, append(unknown("system calls", "close_range(2)", "perf events"), missing("tracepoint ids", "takes CAP_SYS_ADMIN", "add CAP_SYS_ADMIN"))},
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
			append(unknown("perf events"), missing("system calls", "cannot be read: permission denied", "root"))},
		{"ids take a capability", func(f *fake) {
			f.lackErr, f.lacks = syscall.EACCES, syscallHooks("amd64")
			f.files["/proc/self/status"] = statusWith(1000, all&^(1<<capDacReadSearch|1<<capDacOverride), 0)
		}, append(unknown("perf events"), missing("system calls", "no CAP_DAC_READ_SEARCH", "add CAP_DAC_READ_SEARCH"))},
		{"ids broken", func(f *fake) { f.lackErr, f.lacks = errors.New("parse id"), []string{"sys_exit_dup"} },
			[]Check{missing("system calls", "parse id", "tracefs")}},
		{"no close_range", func(f *fake) { f.lacks = closeRangeHooks[:] }, []Check{degraded("close_range(2)", "no tracepoint for it", "5.9")}},
		{"perf events denied", func(f *fake) { f.attachErr = fmt.Errorf("open perf event: %w", syscall.EACCES) },
			[]Check{missing("perf events", "perf_event_open(2) is denied by", "seccomp profile")}},
		{"perf events take a capability", func(f *fake) {
			f.attachErr = fmt.Errorf("open perf event: %w", syscall.EACCES)
			f.files["/proc/self/status"] = statusWith(1000, all&^(1<<capSysAdmin), 0)
			f.files["/proc/sys/kernel/perf_event_paranoid"] = "3\n"
		}, []Check{missing("perf events", "takes CAP_SYS_ADMIN", "sysctl kernel.perf_event_paranoid=2")}},
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

		{"no functions to attach to", func(f *fake) { f.followErr = fmt.Errorf("fentry: %w", syscall.EPERM) },
			[]Check{degraded("socket files", "neither fentry nor kprobes: operation not permitted", "CONFIG_KPROBES")}},
		{"few descriptors", func(f *fake) { f.noFile = 256 }, []Check{degraded("descriptor limit", "256 open files", "ulimit -n")}},
		{"no descriptors", func(f *fake) { f.noFile = 64 }, []Check{missing("descriptor limit", "64 open files", "ulimit -n")}},
		{"pid namespace", func(f *fake) { f.pidNS = true }, []Check{missing("pid namespace", "pid namespace of its own", "--pid=host")}},
		{"own facts unreadable", func(f *fake) { f.nsErr = syscall.ENOENT }, unknown("descriptor limit", "pid namespace")},
	} {
		t.Run(test.name, func(t *testing.T) {
			sys := working()
			test.broken(sys)
			checks := run(sys, "amd64", everyCheck)
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
				// Where nothing can be traced, no stack can be taken.
				if c.Status != OK && (fatal == 0 || !strings.HasPrefix(c.Name, "stacks, ")) {
					t.Errorf("beside: %+v", c)
				}
			}
			checkFatal(t, checks, fatal)
			if tracing := run(sys, "amd64", extent{tracing: true}); !reflect.DeepEqual(Fatal(tracing), Fatal(checks)) {
				t.Errorf("for tracing: %v\nwant: %v", Fatal(tracing), Fatal(checks))
			}
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
