// Package preflight finds out, before anything is loaded, whether this machine
// lets sockleak trace, and says about every requirement: have it or not, what
// it costs to be without, and what to do. Whether the kernel can do something
// is found by trying, never by its version: distributions backport, and switch
// off.
package preflight

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Status is the outcome of a check.
type Status string

// OK: it is there. Missing: it isn't, and if it is required nothing can be
// traced. Degraded: it isn't, or not enough of it, and sockleak works with
// less. Unknown: it could not be tried, because something else is missing.
const (
	OK       Status = "ok"
	Missing  Status = "missing"
	Degraded Status = "degraded"
	Unknown  Status = "unknown"
)

// Check is one requirement.
type Check struct {
	Name     string `json:"name"`
	Required bool   `json:"required"`
	Status   Status `json:"status"`
	Detail   string `json:"detail"` // what was found
	// Consequence is what it costs to be without it, Remedy what to do about
	// it. Both are empty when it is there, or was not tried.
	Consequence string `json:"consequence,omitempty"`
	Remedy      string `json:"remedy,omitempty"`
}

// need is the lasting part of a check.
type need struct {
	name     string
	required bool
}

func (n need) ok(detail string) Check {
	return Check{Name: n.name, Required: n.required, Status: OK, Detail: detail}
}

func (n need) unknown(detail string) Check {
	return Check{Name: n.name, Required: n.required, Status: Unknown, Detail: detail}
}

// without is the check of something that isn't there.
func (n need) without(detail, consequence, remedy string) Check {
	status := Degraded
	if n.required {
		status = Missing
	}
	return Check{n.name, n.required, status, detail, consequence, remedy}
}

// extent is which checks are made. Those that are not required take time, some
// attach to functions of the kernel, and who traces tries the same things at once.
type extent struct {
	tracing  bool // what only tracing needs
	optional bool // what is not required
}

// Run makes all checks. It takes less than 0.1 s; for about as long again the kernel
// lets go of a tracepoint, in the background. It leaves nothing behind but one thing:
// on Linux before 5.11, where maps count against RLIMIT_MEMLOCK, it raises that limit of
// this process.
func Run() []Check { return run(kernel{}, runtime.GOARCH, extent{tracing: true, optional: true}) }

// ForTracing makes the checks of what tracing can't do without: those of Run that
// are required.
func ForTracing() []Check { return run(kernel{}, runtime.GOARCH, extent{tracing: true}) }

// ForSnapshot makes the checks of what is required where nothing is traced and the
// kernel's tables are only read.
func ForSnapshot() []Check { return run(kernel{}, runtime.GOARCH, extent{}) }

func run(sys system, arch string, of extent) []Check {
	privilege, privileged := checkPrivilege(sys)
	types := checkBTF(sys)
	checks := []Check{checkKernel(sys), privilege, types}
	if privileged {
		checks = append(checks, tryBPF(sys, arch, types.Status == OK, of)...)
	} else {
		const why = "not tried: takes privilege"
		checks = append(checks, needBPF.unknown(why), needMemlock.unknown(why))
		checks = append(checks, untried(why)...)
	}
	if of.optional {
		checks = append(checks, checkOtherProcesses(sys), checkSymbols(sys))
	}
	return append(checks, checkDescriptorLimit(sys), checkPIDNamespace(sys))
}

// tryBPF makes the checks that take bpf(2).
func tryBPF(sys system, arch string, types bool, of extent) []Check {
	checks := checkBPF(sys)
	for _, c := range checks {
		if c.Status != OK {
			return append(checks, untried("not tried: bpf(2) does not work here")...)
		}
	}
	if of.tracing {
		checks = append(checks, checkRing(sys))
	}
	checks = append(checks, checkKernelMemory(sys))
	if of.tracing {
		checks = append(checks, checkTracepoints(sys, arch)...)
	}
	if types {
		checks = append(checks, checkByType(sys, of)...)
	} else {
		const why = "not tried: takes kernel types"
		checks = append(checks, needTyped.unknown(why), needIterator.unknown(why))
	}
	if !of.optional {
		return checks
	}
	checks = append(checks, checkUprobes(sys), checkRegisters(sys), checkFollowing(sys))
	return append(checks, checkStacks(sys, arch, types)...)
}

// untried stands for the checks of tryBPF after its first ones.
func untried(why string) []Check {
	var checks []Check
	for _, n := range []need{
		needRing, needKernelMemory, needIDs, needSyscalls, needCloseRange, needAttach, needTyped, needIterator, needUprobes,
		needRegisters, needFollowing, needComplete, needCopies, needPointers,
	} {
		checks = append(checks, n.unknown(why))
	}
	return checks
}

// Fatal returns an *Error with all required things that are missing, or nil if
// there are none.
func Fatal(checks []Check) error {
	var missing []Check
	for _, c := range checks {
		if c.Required && c.Status == Missing {
			missing = append(missing, c)
		}
	}
	if missing == nil {
		return nil
	}
	return &Error{missing}
}

// Error says that this machine does not let sockleak trace, and why.
type Error struct {
	Missing []Check // at least one
}

// Error returns several lines: each requirement with what was found, its
// consequence and its remedy.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("cannot trace on this machine\n")
	for _, c := range e.Missing {
		wrap(&b, "  ", c.Name+": "+c.Detail, "    ")
		explain(&b, "    ", c)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// reason is the error number alone: what libraries add to it are guesses
// ("MEMLOCK may be too low" for any EPERM), and it is our task to know better.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func denied(err error) bool { return errors.Is(err, os.ErrPermission) }
