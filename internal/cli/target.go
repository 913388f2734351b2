package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"sockleak/internal/preflight"
	"sockleak/internal/procfs"
)

// checkMachine returns an error when nothing can be traced from here.
func checkMachine() error { return checkFor(preflight.ForTracing) }

// checkSnapshot returns an error when the kernel's tables can't be read from here.
func checkSnapshot() error { return checkFor(preflight.ForSnapshot) }

func checkFor(checks func() []preflight.Check) error {
	if err := checkPIDNamespace(procfs.New("/proc")); err != nil {
		return err
	}
	if err := preflight.Fatal(checks()); err != nil {
		return cannot(err, hintFor(err))
	}
	return nil
}

// checkPIDNamespace: in a pid namespace of our own the kernel's table of open
// files shows the processes of that namespace alone, under numbers of another.
// Whatever is outside would look closed, so that a leak would be denied.
func checkPIDNamespace(fs procfs.FS) error {
	initial, err := fs.InInitialPIDNS()
	if err != nil {
		return fmt.Errorf("find out which pid namespace this is: %w", err)
	}
	if initial {
		return nil
	}
	return cannot(errors.New("sockleak runs in a pid namespace of its own, where the kernel shows it only a part of the processes, under other numbers"),
		"run it on the host, or in a container with the host's pid namespace (docker run --pid=host)")
}

// findProcesses turns arguments into ids of processes that can be traced. The
// id of a thread stands for its process.
func findProcesses(args []string) ([]uint32, error) {
	fs := procfs.New("/proc")
	if err := checkPIDNamespace(fs); err != nil {
		return nil, err
	}
	var pids []uint32
	for _, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 31)
		if err != nil || n == 0 {
			return nil, usageHint("pidof NAME prints the ids of the processes with that name", "%q is not a process id", arg)
		}
		info, err := fs.Process(uint32(n))
		switch {
		case errors.Is(err, procfs.ErrNoProcess):
			return nil, cannot(fmt.Errorf("there is no process %d", n), hintFor(procfs.ErrNoProcess))
		case err != nil:
			return nil, fmt.Errorf("look at process %d: %w", n, err)
		case info.Zombie() && info.Threads < 2:
			// Else its first thread alone has ended, and the others have its sockets.
			return nil, cannot(fmt.Errorf("process %d (%s) has ended", n, info.Comm),
				"it is a zombie, which holds no descriptors: its parent has not waited for it")
		case kernelThread(info):
			return nil, cannot(fmt.Errorf("process %d (%s) is a thread of the kernel", n, info.Comm),
				"the kernel's threads hold no descriptors: choose the process that uses the sockets")
		case info.TGID == uint32(os.Getpid()):
			return nil, usageHint("sockleak leaves itself out", "process %d is sockleak itself", n)
		}
		pids = append(pids, info.TGID)
	}
	return pids, nil
}

// checkComms refuses names that none of the processes has, unless those are meant
// that they will start.
func checkComms(pids []uint32, f *traceFlags) error {
	if len(f.comms) == 0 || f.children && f.set.Changed("children") {
		return nil
	}
	fs := procfs.New("/proc")
	for _, pid := range pids {
		comm, err := fs.Comm(pid)
		if err != nil && !errors.Is(err, procfs.ErrNoProcess) {
			return fmt.Errorf("look at process %d: %w", pid, err)
		}
		if slices.Contains(f.comms, comm) {
			return nil
		}
	}
	return usageHint("see ps -o comm= -p PID; with --children, processes that they start count too",
		"--comm %s: no process to attach to is called that", strings.Join(f.comms, ","))
}

// kthreadd is the parent of the kernel's threads, in the initial pid namespace.
const kthreadd = 2

// kernelThread needs the exe too: the kernel starts programs as children of its
// threads (modprobe, for instance).
func kernelThread(p procfs.Info) bool {
	return (p.PID == kthreadd || p.PPID == kthreadd) && p.Exe == ""
}
