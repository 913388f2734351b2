package preflight

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"

	"sockleak/internal/tracepoint"
)

var (
	needIDs        = need{"tracepoint ids", true}
	needSyscalls   = need{"system calls", true}
	needCloseRange = need{"close_range(2)", false}
	needAttach     = need{"perf events", true}
	needTyped      = need{"tcp and processes", true}
	needIterator   = need{"descriptor iterator", true}
	needUprobes    = need{"uprobes", false}
)

// syscallHooks returns the names, in group syscalls, of the tracepoints that
// programs are attached to and that every kernel has. There is no dup2(2) on
// arm64.
func syscallHooks(arch string) []string {
	names := []string{
		"sys_exit_socket", "sys_exit_socketpair", "sys_exit_accept", "sys_exit_accept4", "sys_exit_connect",
		"sys_enter_close", "sys_exit_dup", "sys_enter_dup3", "sys_exit_dup3", "sys_exit_fcntl",
		"sys_enter_unshare", "sys_exit_unshare",
		"sys_enter_execve", "sys_exit_execve", "sys_enter_execveat", "sys_exit_execveat",
	}
	if arch == "amd64" {
		names = append(names, "sys_enter_dup2", "sys_exit_dup2")
	}
	return names
}

// closeRangeHooks come with the call itself, in Linux 5.9.
var closeRangeHooks = [...]string{"sys_enter_close_range", "sys_exit_close_range"}

// Hooks returns the names of the tracepoints of group syscalls that are checked,
// on the architecture given as GOARCH names it.
func Hooks(arch string) []string {
	return append(syscallHooks(arch), closeRangeHooks[:]...)
}

// rareHook is what a program is attached to for a moment, to see whether it
// may: a call that hardly anybody makes.
const rareHook = "sys_enter_unshare"

// typedHooks are the tracepoints that programs are attached to as tp_btf.
var typedHooks = [...]string{
	"inet_sock_set_state", "tcp_destroy_sock", "sched_process_fork", "sched_process_exec", "sched_process_exit",
}

const blind = "sockets cannot be followed: nothing can be traced"

func checkTracepoints(sys system, arch string) []Check {
	ids, err := sys.OpenTracepoints()
	if err != nil {
		checks := []Check{noIDs(sys, err)}
		for _, n := range []need{needSyscalls, needCloseRange, needAttach} {
			checks = append(checks, n.unknown("not tried: no tracepoint ids"))
		}
		return checks
	}
	defer ids.Close()
	return []Check{
		needIDs.ok("from " + ids.Source()),
		checkSyscalls(sys, ids, arch),
		checkCloseRange(ids),
		checkAttach(sys, ids),
	}
}

func noIDs(sys system, err error) Check {
	const mounted = "mount -t tracefs tracefs /sys/kernel/tracing"
	switch {
	case errors.Is(err, tracepoint.ErrNoTracefs):
		return needIDs.without(err.Error(), blind, "use a kernel with CONFIG_FTRACE=y and CONFIG_FTRACE_SYSCALLS=y")
	case denied(err) && lacks(sys, capSysAdmin):
		return needIDs.without("tracefs is not mounted, and opening it without mounting it takes CAP_SYS_ADMIN", blind,
			"run it with sudo, or add CAP_SYS_ADMIN, or "+mounted+
				" before; in a container, mount the host's (docker run -v /sys/kernel/tracing:/sys/kernel/tracing:ro)")
	case denied(err):
		return needIDs.without("tracefs is not mounted, and opening it without mounting it is denied by "+suspects(sys), blind,
			mounted+" before; in a container, mount the host's (docker run -v /sys/kernel/tracing:/sys/kernel/tracing:ro)")
	}
	return needIDs.without("no tracefs to be had: "+reason(err), blind, mounted)
}

// lacks reports whether we certainly have none of the capabilities.
func lacks(sys system, capabilities ...int) bool {
	s, err := readStatus(sys)
	return err == nil && !slices.ContainsFunc(capabilities, s.has)
}

// absent returns those names that the kernel hasn't got, and the first error.
func absent(ids tracepoints, names []string) ([]string, error) {
	var missing []string
	var first error
	for _, name := range names {
		if _, err := ids.ID("syscalls", name); err != nil {
			missing = append(missing, name)
			if first == nil {
				first = err
			}
		}
	}
	return missing, first
}

func checkSyscalls(sys system, ids tracepoints, arch string) Check {
	names := syscallHooks(arch)
	missing, err := absent(ids, names)
	switch {
	case err == nil:
		return needSyscalls.ok(fmt.Sprintf("all %d tracepoints", len(names)))
	case denied(err) && lacks(sys, capDacReadSearch, capDacOverride):
		return needSyscalls.without("their ids in "+ids.Source()+" cannot be read: no CAP_DAC_READ_SEARCH", blind,
			"run it with sudo, or add CAP_DAC_READ_SEARCH")
	case denied(err):
		return needSyscalls.without("their ids in "+ids.Source()+" cannot be read: "+reason(err), blind,
			"run it as the user who may, which is root where nobody changed that")
	case errors.Is(err, tracepoint.ErrNoSyscalls):
		return needSyscalls.without("none has a tracepoint", blind, "use a kernel with CONFIG_FTRACE_SYSCALLS=y")
	case errors.Is(err, tracepoint.ErrNotFound):
		return needSyscalls.without("no tracepoint "+strings.Join(missing, ", "), blind, "use a kernel with all of them")
	}
	return needSyscalls.without(err.Error(), blind, "see tracefs in the kernel's documentation for this error")
}

func checkCloseRange(ids tracepoints) Check {
	if _, err := absent(ids, closeRangeHooks[:]); err != nil {
		return needCloseRange.without("no tracepoint for it",
			"descriptors it closes are missed until the next snapshot; before Linux 5.9 there is no such call to miss",
			"none needed; Linux 5.9 or later has it")
	}
	return needCloseRange.ok("traced")
}

func checkAttach(sys system, ids tracepoints) Check {
	id, err := ids.ID("syscalls", rareHook)
	if err != nil {
		return needAttach.unknown("not tried: no id of " + rareHook)
	}
	err = sys.AttachTracepoint(id)
	switch {
	case err == nil:
		return needAttach.ok("a program attaches to a tracepoint")
	case denied(err) && lacks(sys, capSysAdmin) && isParanoid(sys):
		return needAttach.without("kernel.perf_event_paranoid is above 2: perf_event_open(2) takes CAP_SYS_ADMIN", blind,
			"run it with sudo, or add CAP_SYS_ADMIN, or sysctl kernel.perf_event_paranoid=2")
	case denied(err):
		return needAttach.without("perf_event_open(2) is denied by "+suspects(sys), blind,
			"allow it in the container's seccomp profile (docker run --privileged), or run on the host")
	}
	return needAttach.without("no program attaches to a tracepoint: "+reason(err), blind,
		"use a kernel with CONFIG_PERF_EVENTS=y and CONFIG_BPF_EVENTS=y")
}

// isParanoid: upstream has no meaning for numbers above 2, but distributions
// patch one in (Debian: 3) that CAP_PERFMON doesn't help against.
func isParanoid(sys system) bool {
	n, err := strconv.Atoi(sysctl(sys, "perf_event_paranoid"))
	return err == nil && n > 2
}

// checkByType makes the checks of everything that is attached to by type.
func checkByType(sys system, of extent) []Check {
	hooks := []hook{{ebpf.AttachTraceIter, "task_file"}}
	if !of.tracing {
		return []Check{checkIterator(sys.AttachByType(hooks)[0])}
	}
	for _, name := range typedHooks {
		hooks = append(hooks, hook{ebpf.AttachTraceRawTp, name})
	}
	errs := sys.AttachByType(hooks)
	return []Check{checkTyped(errs[1:]), checkIterator(errs[0])}
}

func checkTyped(errs []error) Check {
	var missing []string
	var first error
	for i, err := range errs {
		if err == nil {
			continue
		}
		missing = append(missing, typedHooks[i])
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return needTyped.ok(fmt.Sprintf("all %d typed tracepoints (tp_btf)", len(typedHooks)))
	}
	return needTyped.without("no typed tracepoint (tp_btf) "+strings.Join(missing, ", ")+unlessUnsupported(first),
		"TCP states and the life of processes cannot be followed: verdicts would be wrong",
		"use Linux 5.8 or later, with CONFIG_DEBUG_INFO_BTF=y")
}

func checkIterator(err error) Check {
	if err == nil {
		return needIterator.ok("task_file")
	}
	return needIterator.without("no BPF iterator over task_file"+unlessUnsupported(err),
		"what is open cannot be confirmed, so nothing could be reported", newerKernel)
}

// unlessUnsupported tells why, when it isn't that the kernel hasn't got it.
func unlessUnsupported(err error) string {
	if errors.Is(err, ebpf.ErrNotSupported) {
		return ""
	}
	return ": " + reason(err)
}

func checkUprobes(sys system) Check {
	err := sys.AttachUprobe()
	if err == nil {
		return needUprobes.ok("a program attaches to a function of a process")
	}
	remedy := "use a kernel with CONFIG_UPROBE_EVENTS=y; in a container, one whose seccomp profile allows perf_event_open(2)"
	if errors.Is(err, syscall.EACCES) {
		// kernel/events/core.c: perf_uprobe_event_init, since 6.16 (ba677dbe77af) and
		// the stable kernels of July 2025. CAP_PERFMON was enough before.
		remedy = "run it with sudo, or add CAP_SYS_ADMIN, which newer kernels want for uprobes"
	}
	return needUprobes.without("no program attaches to a function of a process: "+reason(err),
		"in event loops on libuv (Node, uvloop) the report has where a socket was made, not where it was asked for", remedy)
}
