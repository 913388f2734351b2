package preflight

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockleak/internal/deepstack"
)

var (
	needBPF          = need{"bpf(2)", true}
	needMemlock      = need{"locked memory", true}
	needRing         = need{"ring buffer", true}
	needKernelMemory = need{"kernel memory", true}
	needBTF          = need{"kernel types (BTF)", true}
	needRegisters    = need{"user registers", false}
	needFollowing    = need{"socket files", false}
)

const newerKernel = "use Linux 5.8 or later"

// enoughMemlock, in bytes, is more than all maps together: about 24 MiB.
const enoughMemlock = 32 << 20

// checkBPF tries the smallest map there is, after the limit of locked memory is
// out of the way, which gives the same EPERM on Linux before 5.11.
func checkBPF(sys system) []Check {
	limit, limitErr := sys.RaiseMemlock()
	err := sys.NewMap()
	switch {
	case err == nil && limitErr == nil:
		return []Check{needBPF.ok("allowed"), needMemlock.ok("no limit for maps")}
	case err == nil && limit >= enoughMemlock:
		return []Check{needBPF.ok("allowed"), needMemlock.ok(fmt.Sprintf("limit of %d MiB", limit>>20))}
	case err == nil:
		return []Check{needBPF.ok("allowed"), lowMemlock(limit)}
	case denied(err) && limitErr != nil && limit < enoughMemlock:
		// Even the smallest has no room where other maps of this user take it up; those
		// of a process that ended count until the kernel has freed them.
		return []Check{needBPF.unknown("denied, maybe by the limit of locked memory"), lowMemlock(limit)}
	}
	return []Check{refusedBPF(sys, err), needMemlock.unknown("not tried: bpf(2) does not work here")}
}

func lowMemlock(limit uint64) Check {
	return needMemlock.without(
		fmt.Sprintf("RLIMIT_MEMLOCK is %d KiB and may not be raised (no CAP_SYS_RESOURCE)", limit>>10),
		"the maps, which count against it on this kernel, find no room: nothing can be traced",
		"ulimit -l unlimited, or add CAP_SYS_RESOURCE (docker run --ulimit memlock=-1)")
}

func refusedBPF(sys system, err error) Check {
	const consequence = "no BPF program can be loaded: nothing can be traced"
	switch {
	case errors.Is(err, syscall.ENOSYS):
		return needBPF.without("no such system call", consequence,
			"use a kernel with CONFIG_BPF_SYSCALL=y; in a container, one that allows bpf(2)")
	case denied(err):
		return needBPF.without("denied by "+suspects(sys)+", although the capabilities are there", consequence,
			"allow bpf(2) and perf_event_open(2) in the container's seccomp profile (docker run --privileged), or run on the host")
	}
	return needBPF.without(reason(err), consequence, "see bpf(2) for this error")
}

// suspects names who may have denied a privileged call.
func suspects(sys system) string {
	if lockdown(sys) == "confidentiality" {
		return "kernel lockdown (confidentiality)"
	}
	if s, err := readStatus(sys); err == nil && s.seccomp {
		return "a seccomp filter, which this process has, or a security module"
	}
	return "lockdown, seccomp or a security module"
}

// lockdown returns the mode, "" where it cannot be seen: securityfs is often
// not mounted.
func lockdown(sys system) string {
	text, err := sys.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), "[") // "none [integrity] confidentiality"
	mode, _, _ := strings.Cut(rest, "]")
	return mode
}

func checkRing(sys system) Check {
	switch err := sys.NewRing(); {
	case err == nil:
		return needRing.ok("supported")
	case errors.Is(err, syscall.ENOMEM):
		return needRing.without(reason(err), "no way for events to reach sockleak", "raise the memory limit of its cgroup")
	default:
		return needRing.without("no BPF ring buffer: "+reason(err), "no way for events to reach sockleak", newerKernel)
	}
}

// checkKernelMemory: lockdown takes the helper away instead of denying it.
func checkKernelMemory(sys system) Check {
	err := sys.HaveHelper(asm.FnProbeReadKernel)
	switch {
	case err == nil:
		return needKernelMemory.ok("readable by BPF programs")
	case errors.Is(err, ebpf.ErrNotSupported):
		mode := lockdown(sys)
		if mode == "" {
			mode = "most likely confidentiality"
		}
		return needKernelMemory.without("BPF programs may not read it: lockdown ("+mode+")",
			"sockets cannot be looked at: nothing can be traced",
			"boot with lockdown=integrity or without lockdown (docs of your distribution: kernel_lockdown(7))")
	}
	return needKernelMemory.unknown(reason(err))
}

// checkBTF: the kernel itself needs its types to load what we load, so a file
// of types from elsewhere would not do.
func checkBTF(sys system) Check {
	const path = "/sys/kernel/btf/vmlinux"
	err := sys.Stat(path)
	if err == nil {
		return needBTF.ok(path)
	}
	const consequence = "the offsets of kernel structures are unknown: nothing can be traced"
	switch {
	case !errors.Is(err, os.ErrNotExist):
		return needBTF.without(path+": "+reason(err), consequence, "make it readable")
	case sys.Stat("/sys/kernel") != nil:
		return needBTF.without("/sys is not mounted", consequence, "mount -t sysfs sysfs /sys")
	}
	return needBTF.without("no "+path, consequence,
		"use a kernel with CONFIG_DEBUG_INFO_BTF=y, which most distributions have from Linux 5.8 or so")
}

func checkRegisters(sys system) Check {
	err := sys.Registers()
	switch {
	case err == nil:
		return needRegisters.ok("readable (bpf_task_pt_regs)")
	case errors.Is(err, deepstack.ErrNoRegisters):
		return needRegisters.without("no bpf_task_pt_regs in this kernel", nativeOnly, kernelWithRegisters)
	}
	return needRegisters.unknown(reason(err))
}

// checkFollowing: programs at functions, which some kernels don't have and some
// machines forbid.
func checkFollowing(sys system) Check {
	method, err := sys.FollowFiles()
	if err == nil {
		return needFollowing.ok("followed to their release by " + method)
	}
	detail := "neither fentry nor kprobes: " + reason(err)
	return needFollowing.without(detail,
		"sockets without a descriptor are not seen: io_uring's direct descriptors, and those in flight in an AF_UNIX socket",
		"use a kernel that lets BPF programs attach to functions (CONFIG_KPROBES=y, or CONFIG_FUNCTION_TRACER=y)")
}
