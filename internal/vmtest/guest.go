package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"sockleak/internal/ifup"
)

// job is what the guest is to run. The host packs it.
type job struct {
	Dir     string   `json:"dir"`
	Env     []string `json:"env"`
	Command []string `json:"command"`
}

const (
	jobFile = "/vmtest.json"
	// Lines on the console, before and after what the job says.
	startMark = "VMTEST START "
	endMark   = "VMTEST END "
	// The job's status when it could not be run.
	statusNotRun = 125
)

// initMain is the guest's first process. It must not end: the kernel would
// panic, and the console's last lines would be lost.
func initMain() {
	status, err := prepare()
	if err == nil {
		status, err = runJob()
	}
	if err != nil {
		fmt.Println("vmtest:", err)
	}
	fmt.Printf("\n%s%d\n", endMark, status)
	// The console is slow. If it can't be waited for, the host sees no end and says so.
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("vmtest: power off:", err)
	select {}
}

// prepare makes of the bare kernel what a test expects of a machine.
func prepare() (status int, err error) {
	if err := rawConsole(); err != nil {
		return statusNotRun, err
	}
	for _, m := range []struct{ dir, fstype string }{
		{"/proc", "proc"},
		{"/sys", "sysfs"},
		{"/dev", "devtmpfs"},
		{"/sys/fs/cgroup", "cgroup2"},
		{"/sys/fs/bpf", "bpf"},
		{"/sys/kernel/debug", "debugfs"},
		{"/sys/kernel/tracing", "tracefs"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return statusNotRun, err
		}
		// Some kernels have mounted /dev already.
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return statusNotRun, fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	// The root file system is in memory already, and the tests may be below /tmp.
	if err := os.MkdirAll("/tmp", 0o755); err != nil {
		return statusNotRun, err
	}
	if err := os.Chmod("/tmp", 0o777|os.ModeSticky); err != nil {
		return statusNotRun, err
	}
	if err := ifup.Loopback(); err != nil {
		return statusNotRun, fmt.Errorf("bring up lo: %w", err)
	}
	return 0, nil
}

// rawConsole keeps the terminal from adding a carriage return to each line, so
// that the output is the test's, byte for byte.
func rawConsole() error {
	t, err := unix.IoctlGetTermios(1, unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(1, unix.TCSETS, t)
	}
	if err != nil {
		return fmt.Errorf("set up the console: %w", err)
	}
	return nil
}

func runJob() (status int, err error) {
	text, err := os.ReadFile(jobFile)
	if err != nil {
		return statusNotRun, err
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return statusNotRun, fmt.Errorf("parse %s: %w", jobFile, err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return statusNotRun, fmt.Errorf("read the kernel's name: %w", err)
	}
	fmt.Printf("\n%s%s %s\n", startMark, unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:]))
	cmd := exec.Command(j.Command[0], j.Command[1:]...)
	cmd.Dir, cmd.Env = j.Dir, j.Env
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return statusNotRun, fmt.Errorf("run %s: %w", j.Command[0], err)
	}
	return 0, nil
}
