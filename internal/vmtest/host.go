package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine is a virtual machine that is to be booted once.
type machine struct {
	kernel  string // path of the image
	arch    string // as GOARCH has it
	init    string // this program, built for the guest
	root    string // directory whose content the guest's file system begins with, if not empty
	env     []string
	timeout time.Duration
	log     string // file that gets all of the console, if not empty
}

// runMain boots the machine that the flags describe, and runs one program in it.
func runMain(args []string) (status int, err error) {
	var m machine
	flags := flag.NewFlagSet("vmtest run", flag.ContinueOnError)
	flags.StringVar(&m.kernel, "kernel", "", "`path` of the kernel image")
	flags.StringVar(&m.arch, "arch", runtime.GOARCH, "`architecture` of the guest, as GOARCH has it")
	flags.StringVar(&m.init, "init", "", "`path` of this program, statically linked for the guest")
	flags.StringVar(&m.root, "root", "", "`directory` with what else is in the guest's file system: its bin is the guest's /bin")
	flags.Func("env", "`NAME=VALUE` for the program; repeatable", func(v string) error {
		m.env = append(m.env, v)
		return nil
	})
	flags.DurationVar(&m.timeout, "timeout", 5*time.Minute, "for all of it, boot included")
	flags.StringVar(&m.log, "console", "", "`file` to which all of the console is written")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if m.kernel == "" || m.init == "" || flags.NArg() == 0 {
		return 2, fmt.Errorf("wrong arguments\n%s", usage)
	}
	archive, err := m.pack(flags.Args())
	if err != nil {
		return 1, err
	}
	defer os.Remove(archive)
	return m.boot(archive)
}

// pack writes the guest's file system: init, the test binary where it is here,
// and the testdata of its package, which is the current directory.
func (m *machine) pack(command []string) (file string, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the package's directory: %w", err)
	}
	program, err := filepath.Abs(command[0])
	if err != nil {
		return "", fmt.Errorf("find %s: %w", command[0], err)
	}
	out, err := os.CreateTemp("", "vmtest-*.cpio")
	if err != nil {
		return "", fmt.Errorf("create the initramfs: %w", err)
	}
	w := bufio.NewWriterSize(out, 1<<20)
	err = fill(newInitramfs(w), m.init, m.root, job{
		Dir:     dir,
		Env:     slices.Concat([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp"}, passOn(), m.env),
		Command: append([]string{program}, command[1:]...),
	})
	if err = errors.Join(err, w.Flush(), out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}

// passOn is what of our environment the tests get to see: whether a test that
// can't run may be skipped.
func passOn() []string {
	if ci := os.Getenv("CI"); ci != "" {
		return []string{"CI=" + ci}
	}
	return nil
}

func fill(a *initramfs, init, root string, j job) error {
	text, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("describe the job: %w", err)
	}
	steps := []func() error{
		func() error { return a.device("/dev/console", 5, 1) },
		func() error { return a.copyFile("/init", init) },
		func() error { return a.copyFile(j.Command[0], j.Command[0]) },
		func() error { return a.file(jobFile, text) },
		func() error { return a.file("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n")) },
		func() error { return a.mkdir(j.Dir) },
		func() error { return copyTestdata(a, j.Dir) },
		func() error { return copyRoot(a, root) },
		a.close,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func copyTestdata(a *initramfs, dir string) error {
	testdata := filepath.Join(dir, "testdata")
	if _, err := os.Stat(testdata); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return a.copyTree(testdata, testdata)
}

func copyRoot(a *initramfs, root string) error {
	if root == "" {
		return nil
	}
	return a.copyTree("/", root)
}

// qemu returns the command that boots the machine.
func (m *machine) qemu(archive string) (program string, args []string, err error) {
	var console string
	switch m.arch {
	case "amd64":
		program, console = "qemu-system-x86_64", "ttyS0"
		args = []string{"-machine", "q35", "-cpu", "max"}
	case "arm64":
		// Not the cpu "max": emulated pointer authentication is slow.
		program, console = "qemu-system-aarch64", "ttyAMA0"
		args = []string{"-machine", "virt,gic-version=3", "-cpu", "cortex-a72"}
	default:
		return "", nil, fmt.Errorf("no virtual machine for the architecture %q", m.arch)
	}
	return program, append(args,
		// In software: where /dev/kvm opens it need not work. With a thread for
		// each CPU QEMU 7.2 hangs now and then.
		"-accel", "tcg,thread=single", "-smp", "2", "-m", "1G",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-kernel", m.kernel, "-initrd", archive,
		"-append", "console="+console+" rdinit=/init panic=-1 quiet loglevel=1"), nil
}

// boot runs the machine until it powers off or its time is up, copies what the
// job says, and returns the job's status.
func (m *machine) boot(archive string) (status int, err error) {
	program, args, err := m.qemu(archive)
	if err != nil {
		return 2, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	// Open and silent: at the end of it QEMU would close the console.
	in, err := cmd.StdinPipe()
	if err != nil {
		return 1, fmt.Errorf("open the console: %w", err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, fmt.Errorf("open the console: %w", err)
	}
	var console io.Reader = out
	if m.log != "" {
		log, err := os.Create(m.log)
		if err != nil {
			return 1, fmt.Errorf("create the console's log: %w", err)
		}
		defer log.Close()
		console = io.TeeReader(out, log)
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start %s: %w", program, err)
	}
	result := copyConsole(os.Stdout, console)
	waitErr := cmd.Wait()
	switch {
	case result.ended && result.status != statusNotRun:
		return result.status, nil
	case ctx.Err() != nil:
		err = fmt.Errorf("not done within %v", m.timeout)
	default:
		err = errors.Join(errors.New("the virtual machine stopped without a result"), waitErr, result.err)
	}
	return 1, fmt.Errorf("%s: %w; the console's last lines:\n%s", m.kernel, err, strings.Join(result.last, "\n"))
}
