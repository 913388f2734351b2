package kerneltest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/preflight"
	"sockleak/internal/verdict"
)

// capability is one of capabilities(7).
type capability struct {
	number uintptr
	name   string
}

var (
	capBPF      = capability{unix.CAP_BPF, "CAP_BPF"}
	capPerfmon  = capability{unix.CAP_PERFMON, "CAP_PERFMON"}
	capSearch   = capability{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"}
	capPtrace   = capability{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"}
	capSyslog   = capability{unix.CAP_SYSLOG, "CAP_SYSLOG"}
	capAdmin    = capability{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}
	capResource = capability{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"}
)

// nobody is a user who owns nothing that the tests look at.
const nobody = 65534

// with makes a command run as nobody, with these capabilities alone.
func with(have []capability) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for _, c := range have {
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, c.number)
		}
	}
}

// forSnapshot, forTracing and forStacks are what docs/privileges.md says is needed
// on this machine.
func forSnapshot(t *testing.T) []capability {
	all := []capability{capBPF, capPerfmon}
	if needs.Older(t, 5, 11) {
		all = append(all, capResource) // maps count against RLIMIT_MEMLOCK
	}
	return all
}

func forTracing(t *testing.T) []capability {
	t.Helper()
	all := append(forSnapshot(t), capSearch)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	// To open one; and Debian's kernels, which set 3, let nobody else open a
	// perf event then.
	if !strings.Contains(string(mounts), " /sys/kernel/tracing tracefs ") || paranoid(t) > 2 {
		all = append(all, capAdmin)
	}
	return all
}

// paranoidFile says who may use perf_event_open(2).
const paranoidFile = "/proc/sys/kernel/perf_event_paranoid"

func paranoid(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(paranoidFile)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func forStacks(t *testing.T) []capability { return append(forTracing(t), capPtrace, capSyslog) }

// without is the list without one.
func without(all []capability, c capability) []capability {
	return slices.DeleteFunc(slices.Clone(all), func(other capability) bool { return other == c })
}

// TestPrivileges: each mode works with the capabilities that the docs name, and
// without any one of them says which one is missing.
func TestPrivileges(t *testing.T) {
	needs.Root(t)
	if paranoid(t) > 2 {
		t.Run("perf_event_paranoid as it is", modesWork)
	}
	t.Run("perf_event_paranoid 2", func(t *testing.T) {
		permit(t)
		modesWork(t)
	})
}

// permit sets kernel.perf_event_paranoid to 2, until the test ends, where it is more.
// It skips a test on a machine that wasn't made for it.
func permit(t *testing.T) {
	t.Helper()
	was := paranoid(t)
	if was <= 2 {
		return
	}
	if !needs.Virtual() {
		t.Skip("needs a virtual machine made for the test (make test-kernels): it sets kernel.perf_event_paranoid")
	}
	set := func(n int) {
		if err := os.WriteFile(paranoidFile, []byte(strconv.Itoa(n)), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(2)
	t.Cleanup(func() { set(was) })
}

func modesWork(t *testing.T) {
	p := program(t, "leak_never", "--pre", "3", "--then-on-command")
	pid := fmt.Sprint(p.PID)
	for _, mode := range []struct {
		args   []string
		need   []capability
		status int
	}{
		{[]string{"snapshot", pid}, forSnapshot(t), 0},
		{[]string{"attach", "--stacks", "fp", "--for", "1s", "--interval", "200ms", "--min-age", "200ms", pid}, forTracing(t), 1},
		{[]string{"hunt", "--stacks", "fp", "--for", "1s", "--interval", "200ms", "--min-age", "200ms"}, forTracing(t), 1},
	} {
		run := func(have []capability) outcome {
			cmd := exec.Command(command(t), mode.args...)
			with(have)(cmd)
			return finish(t, cmd)
		}
		if got := run(mode.need); got.status != mode.status || !strings.Contains(got.stdout, "leak_never") {
			t.Errorf("%s with %v: %+v", mode.args[0], mode.need, got)
		}
		if mode.args[0] == "hunt" {
			continue // needs what attach needs
		}
		for _, c := range mode.need {
			if slices.Contains(mode.need, capAdmin) && (c == capBPF || c == capPerfmon) {
				continue // CAP_SYS_ADMIN stands for both
			}
			if got := run(without(mode.need, c)); got.status != 3 || !strings.Contains(got.stderr, c.name) {
				t.Errorf("%s without %s: %+v", mode.args[0], c.name, got)
			}
		}
	}
}

// TestPrivilegeOfNames: another user's process is traced without CAP_SYS_PTRACE,
// but its functions have no names then, and doctor says so.
func TestPrivilegeOfNames(t *testing.T) {
	needs.Root(t)
	for _, test := range []struct {
		have  []capability
		named bool
	}{{append(forTracing(t), capPtrace), true}, {forTracing(t), false}} {
		p := program(t, "leak_never", "--then-on-command")
		k := beginAs(t, with(test.have), "attach", "--stacks", "fp", fmt.Sprint(p.PID))
		p.Do("one")
		k.until("the leak is found", func(r *verdict.Report) bool { return len(r.Findings) == 1 })
		r, _ := k.end()
		want := leak{verdict.NeverUsed, 1, "none"}
		if test.named {
			want.function = "leak_here_never"
		}
		if got := leaks(r, "leak_never"); !slices.Equal(got, []leak{want}) {
			t.Errorf("with %v: got %v, want %v\n%s", test.have, got, want, describe(r))
		}
	}
}

// TestDropped: once all is attached, what is not needed any more is given up, and
// the trace goes on.
func TestDropped(t *testing.T) {
	needs.Root(t)
	p := program(t, "leak_never", "--then-on-command")
	k := begin(t, "attach", "--stacks", "fp", fmt.Sprint(p.PID))
	want := uint64(1)<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_PTRACE |
		1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_KILL | 1<<unix.CAP_CHECKPOINT_RESTORE
	own := effective(t, os.Getpid()) // root in a container has not all
	if own&(1<<unix.CAP_CHECKPOINT_RESTORE) == 0 {
		want |= 1 << unix.CAP_SYS_ADMIN
	}
	want &= own
	late := time.Now().Add(patience)
	for got := effective(t, k.cmd.Process.Pid); got != want; got = effective(t, k.cmd.Process.Pid) {
		if time.Now().After(late) {
			t.Fatalf("capabilities %x, want %x", got, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.Do("one")
	k.until("the leak is found", func(r *verdict.Report) bool { return len(r.Findings) == 1 })
}

func effective(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var set uint64
	_, rest, _ := strings.Cut(string(text), "CapEff:")
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		t.Fatalf("parse CapEff: %v", err)
	}
	return set
}

// TestUprobePrivilege: uprobes take CAP_SYS_ADMIN besides what complete stacks take,
// on kernels since 6.16 and on stable ones since July 2025, and doctor says so.
func TestUprobePrivilege(t *testing.T) {
	needs.Root(t)
	if paranoid(t) > 2 {
		t.Run("perf_event_paranoid as it is", uprobePrivilege)
	}
	t.Run("perf_event_paranoid 2", func(t *testing.T) {
		permit(t)
		uprobePrivilege(t)
	})
}

func uprobePrivilege(t *testing.T) {
	less := without(forStacks(t), capAdmin)
	if c := uprobes(t, append(less, capAdmin)); c.Status != preflight.OK {
		t.Errorf("with %s: %+v", capAdmin.name, c)
	}
	c := uprobes(t, less)
	if c.Status == preflight.OK && needs.Older(t, 6, 16) && paranoid(t) <= 2 {
		return // CAP_PERFMON is enough
	}
	if c.Status != preflight.Degraded || !strings.Contains(c.Remedy, capAdmin.name) {
		t.Errorf("without %s: %+v", capAdmin.name, c)
	}
}

// uprobes is what doctor says of them with these capabilities.
func uprobes(t *testing.T, have []capability) preflight.Check {
	t.Helper()
	cmd := exec.Command(command(t), "doctor", "-o", "json")
	with(have)(cmd)
	return checksOf(t, finish(t, cmd))["uprobes"]
}

// TestLeastForStacks: complete stacks do not take CAP_SYS_ADMIN. Uprobes do from 6.16 on,
// and a note says why it isn't known who asked an event loop.
func TestLeastForStacks(t *testing.T) {
	needs.Root(t)
	if !needs.Virtual() {
		t.Skip("needs a virtual machine made for the test (make test-kernels): others run TestCompleteStacks with as little")
	}
	if needs.Older(t, 6, 16) {
		t.Skipf("needs uprobes that take CAP_SYS_ADMIN, as from Linux 6.16 on: on %s TestCompleteStacks has as little", needs.Release(t))
	}
	permit(t)
	have := without(forStacks(t), capAdmin)
	p := program(t, "leak_asked")
	k := beginAs(t, with(have), "attach", "--stacks", "auto", fmt.Sprint(p.PID))
	k.until("all is attached", func(*verdict.Report) bool { return effective(t, k.cmd.Process.Pid)&(1<<capSyslog.number) == 0 })
	k.looks(10) // uprobes come a moment later
	p.Do("leak")
	k.until("the stacks are complete", func(r *verdict.Report) bool { return walked(r, "leak_asked") })
	r, _ := k.end()
	notes := strings.Join(r.Notes, "\n")
	for note, want := range map[string]bool{"complete stacks were there from": true, "on this kernel uprobes take CAP_SYS_ADMIN": true} {
		if strings.Contains(notes, note) != want {
			t.Errorf("a note %q: want %v\n%s", note, want, describe(r))
		}
	}
}
