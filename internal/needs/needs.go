// Package needs has the conditions under which a test may be skipped: what the
// machine, or the kernel, doesn't have. Where it has to be there the test fails
// instead, because a skip would hide that it is gone.
package needs

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Root skips a test that loads programs; in CI it fails.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("not root: in CI the tests that trace must run")
	}
	t.Skip("not root: tracing needs CAP_BPF and CAP_PERFMON")
}

// Tool returns the path of a program of this machine that scripts/setup.sh installs.
// Without it the test is skipped; in CI it fails.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("find %s: %v", name, err)
	}
	t.Skipf("needs %s, which is not installed: run scripts/setup.sh", name)
	return ""
}

// Uvloop returns the path of a Python that has uvloop, as Tool does.
func Uvloop(t testing.TB) (python string) {
	t.Helper()
	python = Tool(t, "/usr/bin/python3") // Debian's: another has other packages
	err := exec.Command(python, "-c", "import uvloop").Run()
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("find uvloop: %v", err)
	}
	if err != nil {
		t.Skip("needs uvloop, which is not installed: run scripts/setup.sh")
	}
	return python
}

// Kernel takes the result of trying a feature that came with a version of Linux,
// and skips the test without it, or fails where the version must have it.
func Kernel(t testing.TB, feature string, tried error, major, minor int) {
	t.Helper()
	switch {
	case tried == nil:
	case Older(t, major, minor):
		t.Skipf("needs %s, which came with Linux %d.%d: this is %s", feature, major, minor, Release(t))
	default:
		t.Fatalf("%s: %v on Linux %s, and it came with %d.%d", feature, tried, Release(t), major, minor)
	}
}

// Older reports whether the running kernel is older than a version.
func Older(t testing.TB, major, minor int) bool {
	t.Helper()
	var have [2]int
	if n, err := fmt.Sscanf(Release(t), "%d.%d", &have[0], &have[1]); n != 2 {
		t.Fatalf("parse the kernel's version %q: %v", Release(t), err)
	}
	return slices.Compare(have[:], []int{major, minor}) < 0
}

// Virtual reports whether the machine was made for the test (scripts/test-kernels.sh),
// which may change its settings.
func Virtual() bool { return os.Getenv("SOCKLEAK_VIRTUAL") != "" }

// Unpatched makes the kernel patch none of its functions for tracers, until the
// test ends. It skips a test on a machine that wasn't made for it.
func Unpatched(t testing.TB) {
	t.Helper()
	const file = "/proc/sys/kernel/ftrace_enabled"
	if !Virtual() {
		t.Skipf("needs a virtual machine made for the test (make test-kernels): it sets kernel.ftrace_enabled")
	}
	set := func(value string) {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			t.Fatalf("set kernel.ftrace_enabled to %s: %v", value, err)
		}
	}
	set("0")
	t.Cleanup(func() { set("1") })
}

// Release is that of the running kernel, as uname(2) has it.
func Release(t testing.TB) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(name.Release[:])
}
