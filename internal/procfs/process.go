package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go supports.
const tick = 10 * time.Millisecond

// Info is what a process was when it was looked at.
type Info struct {
	PID uint32 // the number that was asked for
	// TGID differs from PID when PID is the number of a thread; the process
	// is TGID then.
	TGID uint32
	PPID uint32 // 0 when the parent is outside of this pid namespace
	Comm string
	// State is the letter of ps(1): R running, S sleeping, Z zombie, ...
	State byte
	// Exe is the path of the program as the process sees it. It is empty
	// when there is none (kernel threads, zombies) and when we may not know
	// (another user's process, without CAP_SYS_PTRACE).
	Exe string
	// ExeDeleted: the program's file was deleted or replaced after it was
	// started. A file whose name ends in " (deleted)" looks the same.
	ExeDeleted bool
	// StartTicks is the start in units of 10 ms since boot, rounded down,
	// suspend included. The nanoseconds of event.ProcessKey cannot be had
	// from /proc: compare with StartedAt.
	StartTicks uint64
	// Start is StartTicks as wall time, so up to 10 ms early. It moves when
	// the clock is set.
	Start time.Time
	// NSPIDs are the numbers of this process, first in the pid namespace of
	// this /proc, last in its own. One alone: it lives in that of /proc.
	NSPIDs  []uint32
	Threads int
	// NoFile is the soft limit of RLIMIT_NOFILE: a descriptor's number is
	// always below it when it is made. math.MaxUint64 is unlimited.
	NoFile uint64
	// Cgroup is the path in the cgroup v2 hierarchy, as seen from our own
	// cgroup namespace; where there is no v2, that of systemd's v1
	// hierarchy; else empty.
	Cgroup string
	// Container is the id of the container it runs in, as its engine knows it,
	// or its name where that is all there is (LXC, systemd-nspawn). Empty: in
	// none, in the one that we are in too, or one of an engine we don't know.
	Container string
}

// Zombie reports whether the process has ended and waits for its parent. It
// has no descriptors any more.
func (i Info) Zombie() bool { return i.State == 'Z' || i.State == 'X' }

// StartedAt reports whether the process may be the one that started bootNS
// nanoseconds after boot (task_struct.start_boottime): whether both are in the
// same 10 ms. Inside a time namespace /proc adds an offset, and they differ.
func (i Info) StartedAt(bootNS uint64) bool {
	return bootNS/uint64(tick) == i.StartTicks
}

// Process returns the facts about the process pid. The error matches
// ErrNoProcess when there is none.
func (fs FS) Process(pid uint32) (Info, error) {
	p, err := fs.open(pid)
	if err != nil {
		return Info{}, err
	}
	defer p.Close()

	info := Info{PID: pid}
	for _, part := range []struct {
		file  string
		parse func(*Info, []byte) error
	}{
		{"stat", parseStat},
		{"status", parseStatus},
		{"limits", parseLimits},
	} {
		text, err := p.read(part.file)
		if err != nil {
			return Info{}, err
		}
		if err := part.parse(&info, text); err != nil {
			return Info{}, fmt.Errorf("parse %s of process %d: %w", part.file, pid, err)
		}
	}
	if info.Exe, info.ExeDeleted, err = fs.exe(p, info); err != nil {
		return Info{}, err
	}
	if info.Cgroup, info.Container, err = p.cgroup(); err != nil {
		return Info{}, err
	}
	now, boot, err := fs.clock()
	if err != nil {
		return Info{}, err
	}
	info.Start = now.Add(time.Duration(info.StartTicks)*tick - boot)
	return info, nil
}

// Comm returns the name of the process pid, up to 15 bytes (proc_pid_comm(5)): less
// to read than Process. The error matches ErrNoProcess when there is none.
func (fs FS) Comm(pid uint32) (string, error) {
	p, err := fs.open(pid)
	if err != nil {
		return "", err
	}
	defer p.Close()
	text, err := p.read("comm")
	return strings.TrimSuffix(string(text), "\n"), err
}

// NoFile returns the soft limit of RLIMIT_NOFILE of the process pid, as Info has it. The
// error matches ErrNoProcess when there is none.
func (fs FS) NoFile(pid uint32) (uint64, error) {
	p, err := fs.open(pid)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	text, err := p.read("limits")
	if err != nil {
		return 0, err
	}
	var info Info
	if err := parseLimits(&info, text); err != nil {
		return 0, fmt.Errorf("parse limits of process %d: %w", pid, err)
	}
	return info.NoFile, nil
}

// exe asks a thread that lives where the first one has ended.
func (fs FS) exe(p process, info Info) (path string, deleted bool, err error) {
	living := p
	if info.Zombie() && info.Threads > 1 {
		if living, err = fs.open(fs.Living(info.PID)); err != nil {
			return "", false, err
		}
		defer living.Close()
	}
	return living.exe()
}

var errShort = errors.New("fewer fields than expected")

// parseStat reads "PID (comm) state ppid ...". The comm is whatever the
// process chose, brackets, blanks and newlines included: it ends at the last
// bracket of the text.
func parseStat(info *Info, text []byte) error {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return errors.New("no comm in brackets")
	}
	info.Comm = string(text[open+1 : end])
	// Numbers of proc(5), minus the three before and including the state.
	const ppid, threads, start = 4 - 3, 20 - 3, 22 - 3
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= start {
		return errShort
	}
	info.State = fields[0][0]
	parent, err := strconv.ParseUint(string(fields[ppid]), 10, 32)
	if err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	info.PPID = uint32(parent)
	if info.Threads, err = strconv.Atoi(string(fields[threads])); err != nil {
		return fmt.Errorf("number of threads: %w", err)
	}
	if info.StartTicks, err = strconv.ParseUint(string(fields[start]), 10, 64); err != nil {
		return fmt.Errorf("start time: %w", err)
	}
	return nil
}

func parseStatus(info *Info, text []byte) error {
	tgid, err := statusNumbers(text, "Tgid")
	if err != nil {
		return err
	}
	if len(tgid) != 1 {
		return errors.New("no Tgid")
	}
	info.TGID = tgid[0]
	if info.NSPIDs, err = statusNumbers(text, "NSpid"); err != nil {
		return err
	}
	if len(info.NSPIDs) == 0 { // a kernel without pid namespaces
		info.NSPIDs = []uint32{info.PID}
	}
	return nil
}

// statusNumbers returns the numbers in a line of /proc/PID/status. No such
// line: none. The Name line comes first and has its newlines escaped, so no
// process can fake another.
func statusNumbers(text []byte, key string) ([]uint32, error) {
	for line := range bytes.Lines(text) {
		name, values, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(name) != key {
			continue
		}
		var numbers []uint32
		for _, field := range bytes.Fields(values) {
			n, err := strconv.ParseUint(string(field), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			numbers = append(numbers, uint32(n))
		}
		return numbers, nil
	}
	return nil, nil
}

// parseLimits reads /proc/PID/limits rather than asking prlimit(2), which
// takes CAP_SYS_RESOURCE for another user's process, even to read.
func parseLimits(info *Info, text []byte) error {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		if !ok {
			continue
		}
		fields := bytes.Fields(rest)
		if len(fields) < 1 {
			return errShort
		}
		if string(fields[0]) == "unlimited" {
			info.NoFile = math.MaxUint64
			return nil
		}
		var err error
		if info.NoFile, err = strconv.ParseUint(string(fields[0]), 10, 64); err != nil {
			return fmt.Errorf("open files: %w", err)
		}
		return nil
	}
	return errors.New("no line for open files")
}

func (p process) exe() (path string, deleted bool, err error) {
	path, err = p.Readlink("exe")
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "", false, nil
	case err != nil:
		err = p.fail("exe", err)
		if !errors.Is(err, ErrNoProcess) && errors.Is(err, syscall.ENOENT) {
			return "", false, nil // a kernel thread or a zombie
		}
		return "", false, err
	}
	path, deleted = strings.CutSuffix(path, " (deleted)")
	return path, deleted, nil
}

func (p process) cgroup() (path, container string, err error) {
	text, err := p.read("cgroup")
	if errors.Is(err, syscall.ENOENT) {
		return "", "", nil // a kernel without cgroups
	}
	if err != nil {
		return "", "", err
	}
	unified := false
	for line := range strings.Lines(string(text)) {
		// HIERARCHY:CONTROLLERS:PATH; v2 is hierarchy 0 without controllers.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			return "", "", fmt.Errorf("parse cgroup of process %d: %w", p.pid, errShort)
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			path, unified = parts[2], true
		case parts[1] == "name=systemd" && !unified:
			path = parts[2]
		}
		// An engine may use either, whatever else there is.
		if container == "" {
			container = containerOf(parts[2])
		}
	}
	return path, container, nil
}
