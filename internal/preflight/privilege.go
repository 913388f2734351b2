package preflight

import (
	"fmt"
	"strconv"
	"strings"
)

var (
	needPrivilege  = need{"privilege", true}
	needProcesses  = need{"other processes", false}
	needSymbols    = need{"kernel symbols", false}
	needFiles      = need{"descriptor limit", false}
	needNamespace  = need{"pid namespace", true}
	needKernelInfo = need{"kernel", false}
)

// Numbers of capabilities(7).
const (
	capDacOverride   = 1
	capDacReadSearch = 2
	capSysPtrace     = 19
	capSysAdmin      = 21
	capSyslog        = 34
	capPerfmon       = 38
	capBPF           = 39
)

// status is what matters of /proc/self/status.
type status struct {
	capabilities uint64 // effective
	uid          uint64 // effective
	seccomp      bool   // a filter is active
}

func (s status) has(capability int) bool { return s.capabilities&(1<<capability) != 0 }

func readStatus(sys system) (status, error) {
	text, err := sys.ReadFile("/proc/self/status")
	if err != nil {
		return status{}, fmt.Errorf("read own status: %w", err)
	}
	var s status
	var found int
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case key == "Uid" && len(fields) > 1:
			s.uid, err = strconv.ParseUint(fields[1], 10, 32)
			found++
		case key == "CapEff" && len(fields) > 0:
			s.capabilities, err = strconv.ParseUint(fields[0], 16, 64)
			found++
		case key == "Seccomp" && len(fields) > 0:
			s.seccomp = fields[0] == "2"
		}
		if err != nil {
			return status{}, fmt.Errorf("parse own status: %s: %w", key, err)
		}
	}
	if found != 2 {
		return status{}, fmt.Errorf("parse own status: no Uid or CapEff")
	}
	return s, nil
}

func checkKernel(sys system) Check {
	release, err := sys.Release()
	if err != nil {
		return needKernelInfo.unknown(err.Error())
	}
	return needKernelInfo.ok(release)
}

// checkPrivilege also says whether it makes sense to go on trying.
func checkPrivilege(sys system) (Check, bool) {
	const consequence = "the kernel lets sockleak load no BPF program: nothing can be traced"
	s, err := readStatus(sys)
	if err != nil {
		// Then trying will tell.
		return needPrivilege.unknown(err.Error()), true
	}
	admin := s.has(capSysAdmin)
	if !admin && (!s.has(capBPF) || !s.has(capPerfmon)) {
		detail := fmt.Sprintf("uid %d without %s (or CAP_SYS_ADMIN)", s.uid, strings.Join(lacking(s), " and "))
		remedy := "run it with sudo"
		if s.uid == 0 {
			remedy = "give the container CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON, or run on the host"
		}
		return needPrivilege.without(detail, consequence, remedy), false
	}
	// The capabilities of a user namespace count for nothing here.
	if initial, err := sys.InInitialUserNS(); err == nil && !initial {
		return needPrivilege.without("root in a user namespace only (rootless container, unshare -r)", consequence,
			"run it as root of the machine, outside of the user namespace"), false
	}
	if admin {
		return needPrivilege.ok(fmt.Sprintf("uid %d with CAP_SYS_ADMIN", s.uid)), true
	}
	return needPrivilege.ok(fmt.Sprintf("uid %d with CAP_BPF and CAP_PERFMON", s.uid)), true
}

func lacking(s status) []string {
	var names []string
	if !s.has(capBPF) {
		names = append(names, "CAP_BPF")
	}
	if !s.has(capPerfmon) {
		names = append(names, "CAP_PERFMON")
	}
	return names
}

// checkOtherProcesses: /proc/PID/maps, exe and root are open to those who may
// ptrace(2) the process. Nothing is ever traced that way.
func checkOtherProcesses(sys system) Check {
	s, err := readStatus(sys)
	switch {
	case err != nil:
		return needProcesses.unknown(err.Error())
	case s.has(capSysPtrace):
		return needProcesses.ok("their maps and exe are readable")
	}
	return needProcesses.without(
		"no CAP_SYS_PTRACE: /proc/PID/maps and exe of other users' processes cannot be read",
		"their stacks stay bare addresses, without function and line",
		"run it with sudo, or add CAP_SYS_PTRACE")
}

// checkSymbols: the profiler reads the addresses of the kernel's functions. Whether
// the kernel shows them it decides by kallsyms_show_value in kernel/kallsyms.c.
func checkSymbols(sys system) Check {
	err := sys.Symbols()
	switch {
	case err == nil:
		return needSymbols.ok("their addresses are readable")
	case sysctl(sys, "kptr_restrict") == "2":
		return needSymbols.without("kernel.kptr_restrict is 2: nobody may read their addresses", nativeOnly,
			"sysctl kernel.kptr_restrict=1")
	case lacks(sys, capSyslog):
		return needSymbols.without("no CAP_SYSLOG: their addresses in /proc/kallsyms read as zero", nativeOnly,
			"run it with sudo, or add CAP_SYSLOG")
	}
	return needSymbols.without(reason(err), nativeOnly, "use a kernel with CONFIG_KALLSYMS=y")
}

// sysctl returns a setting of kernel.*, empty where there is none.
func sysctl(sys system, name string) string {
	text, err := sys.ReadFile("/proc/sys/kernel/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// A descriptor for each program, link and map, some hundred, and those of the
// files that symbols are read from.
const (
	fewDescriptors = 512
	noDescriptors  = 192
)

func checkDescriptorLimit(sys system) Check {
	limit, err := sys.NoFile()
	if err != nil {
		return needFiles.unknown(err.Error())
	}
	detail := fmt.Sprintf("%d open files", limit)
	const remedy = "ulimit -n 4096, before it is started"
	switch {
	case limit < noDescriptors:
		c := need{needFiles.name, true}
		return c.without(detail, "too few to hold the programs and maps: sockleak cannot start", remedy)
	case limit < fewDescriptors:
		return needFiles.without(detail, "symbol files may not open: some stacks stay without function and line", remedy)
	}
	return needFiles.ok(detail)
}

func checkPIDNamespace(sys system) Check {
	initial, err := sys.InInitialPIDNS()
	switch {
	case err != nil:
		return needNamespace.unknown(err.Error())
	case initial:
		return needNamespace.ok("the initial one")
	}
	return needNamespace.without(
		"sockleak runs in a pid namespace of its own",
		"the kernel reports the process numbers of the host, which are others here, and its tables show this namespace alone",
		"run it on the host, or in the host's pid namespace (docker run --pid=host)")
}
