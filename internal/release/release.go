// Package release follows the files of sockets from their making to their
// release, by attaching to two functions of the kernel. It knows the exact end of
// a socket's life, and sees what makes no system call of its own: io_uring's
// sockets, those too that never get a descriptor. Not every kernel lets us attach
// to functions; nothing else depends on it.
package release

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/tracepoint"
)

// File is the file of a socket that is there.
type File struct {
	Inode uint64
	Time  uint64 // of its making, ns of CLOCK_MONOTONIC
	PID   uint32 // who had it made, in the initial pid namespace
	Comm  string // the name of the thread that did
}

// Scope is whose sockets are followed: what bpf/scope.h declares, as who traces the
// same processes has it. The zero Scope is everybody.
type Scope struct {
	Self           uint32    // the process that is left out
	Rules          uint32    // enum scope_rule
	Targets, Comms *ebpf.Map // nil: none
}

// Tracker knows the socket files that were made since it was opened and that are
// not released yet. Its methods are for one goroutine at a time.
type Tracker struct {
	objects tracked
	links   []io.Closer
	method  string
	self    uint32          // left out of what is told
	told    map[uint64]bool // by inode, reused
}

// tracked are the maps and the pair of programs that could be attached.
type tracked struct {
	files, lost    *ebpf.Map
	made, released *ebpf.Program
}

// method is a way to attach to functions.
type method struct {
	name           string
	made, released string // the programs
	attach         func(t *Tracker) error
}

// methods are tried in this order: fentry costs a tenth of a kprobe.
func methods() []method {
	return []method{
		{"fentry", "made_fexit", "released_fentry", (*Tracker).attachFentry},
		{"kprobe", "made_kprobe", "released_kprobe", (*Tracker).attachKprobes},
	}
}

// Open attaches by fentry, else by kprobes. The error says why neither is to be
// had. Whoever calls it closes the Tracker. types is as in probe.Config.
func Open(scope Scope, types *btf.Cache) (*Tracker, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	if types == nil {
		types = btf.NewCache()
	}
	var refused []error
	for _, m := range methods() {
		t := &Tracker{method: m.name, self: scope.Self, told: map[uint64]bool{}}
		err := t.open(m, scope, types)
		if err == nil {
			return t, nil
		}
		refused = append(refused, fmt.Errorf("%s: %w", m.name, errors.Join(err, t.Close())))
	}
	return nil, fmt.Errorf("follow the files of sockets: %w", errors.Join(refused...))
}

func (t *Tracker) open(m method, scope Scope, types *btf.Cache) error {
	spec, err := loadRelease()
	if err != nil {
		return err
	}
	// One refused program fails a collection, so each way is one of its own.
	for _, other := range methods() {
		if other.name != m.name {
			delete(spec.Programs, other.made)
			delete(spec.Programs, other.released)
		}
	}
	shared, err := scope.apply(spec)
	if err != nil {
		return err
	}
	all, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared, Cache: types})
	if err != nil {
		return fmt.Errorf("load the programs: %w", err)
	}
	defer all.Close()
	t.objects = tracked{
		files: all.DetachMap(releaseMapSocketFiles), lost: all.DetachMap(releaseMapSocketFilesLost),
		made: all.DetachProgram(m.made), released: all.DetachProgram(m.released),
	}
	if err := m.attach(t); err != nil {
		return err
	}
	return t.try()
}

// try makes a socket, which must be seen to come and go: a kprobe on a function that
// the kernel patches by ftrace is accepted, and never runs, while the sysctl
// kernel.ftrace_enabled is 0 (kernel/trace/ftrace.c: ftrace_startup_enable).
func (t *Tracker) try() (err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket to try it: %w", err)
	}
	var stat unix.Stat_t
	err = unix.Fstat(fd, &stat)
	var made, left releaseSocketFile
	if err == nil {
		err = t.objects.files.Lookup(stat.Ino, &made)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("it is attached, but what it does with a socket is not seen: %w", err)
	}
	if err := t.objects.files.Lookup(stat.Ino, &left); err == nil && left == made {
		return errors.New("it is attached, but the release of a socket is not seen")
	}
	return nil
}

// apply sets what spec is to have of the scope, and returns the maps that it shares.
func (s *Scope) apply(spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	for name, value := range map[string]uint32{releaseVarCfgSelf: s.Self, releaseVarCfgScope: s.Rules} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	shared := map[string]*ebpf.Map{}
	for name, m := range map[string]*ebpf.Map{releaseMapTargets: s.Targets, releaseMapComms: s.Comms} {
		if m != nil {
			shared[name] = m
		} else {
			spec.Maps[name].MaxEntries = 1 // nothing looks into it
		}
	}
	return shared, nil
}

// The release first: what is released and was never made does no harm.
func (t *Tracker) attachFentry() error {
	for _, p := range []*ebpf.Program{t.objects.released, t.objects.made} {
		if err := t.keep(link.AttachTracing(link.TracingOptions{Program: p})); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracker) attachKprobes() error {
	if err := t.keep(link.Kprobe("sock_close", t.objects.released, nil)); err != nil {
		return err
	}
	return t.keep(link.Kretprobe("sock_alloc_file", t.objects.made, nil))
}

func (t *Tracker) keep(l link.Link, err error) error {
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	t.links = append(t.links, l)
	return nil
}

// Method is how it is attached: "fentry" or "kprobe".
func (t *Tracker) Method() string { return t.method }

// Files calls f once with every file that is there and was made before the time given,
// in ns of CLOCK_MONOTONIC, in no particular order. Of those that come and go
// meanwhile some are left out.
//
// The files are read one by one: while it reads a batch the kernel runs no program for
// whoever else is on that CPU (kernel/bpf/hashtab.c: bpf_disable_instrumentation), and
// for a large map that is long enough to be preempted.
func (t *Tracker) Files(before uint64, f func(File)) error {
	var inode uint64
	var made releaseSocketFile
	clear(t.told)
	all := t.objects.files.Iterate()
	for all.Next(&inode, &made) {
		// The kernel begins anew where the one it stood at has gone.
		if made.Time < before && made.Pid != t.self && !t.told[inode] {
			t.told[inode] = true
			f(File{inode, made.Time, made.Pid, comm(made.Comm)})
		}
	}
	// So many came and went that it was given up: what was seen is true.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the files of sockets: %w", err)
	}
	return nil
}

func comm(raw [16]int8) string {
	var name [16]byte
	for i, c := range raw {
		name[i] = byte(c)
	}
	return event.Comm(&name)
}

// Unreleased is how often a release was not seen, because the kernel didn't run the
// program for it: as many of Files may be gone.
func (t *Tracker) Unreleased() (uint64, error) { return tracepoint.Skipped(t.objects.released) }

// Lost is how many files found no place among those that are known, or whose making
// was not seen.
func (t *Tracker) Lost() (sum uint64, err error) {
	var perCPU []uint64
	if err := t.objects.lost.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("read the loss counter: %w", err)
	}
	for _, n := range perCPU {
		sum += n
	}
	unseen, err := tracepoint.Skipped(t.objects.made)
	return sum + unseen, err
}

// Close detaches everything.
func (t *Tracker) Close() error {
	errs := []error{tracepoint.CloseAll(t.links)}
	for _, p := range []*ebpf.Program{t.objects.made, t.objects.released} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, m := range []*ebpf.Map{t.objects.files, t.objects.lost} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
