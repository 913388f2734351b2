package preflight

import (
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"sockleak/internal/deepstack"
	"sockleak/internal/mapfollow"
	"sockleak/internal/procfs"
	"sockleak/internal/release"
	"sockleak/internal/tracepoint"
)

// system is what checks ask. Tests have machines of every kind.
type system interface {
	Release() (string, error)
	ReadFile(path string) ([]byte, error)
	Stat(path string) error
	InInitialUserNS() (bool, error)
	InInitialPIDNS() (bool, error)
	// NoFile is our own soft limit of open files.
	NoFile() (uint64, error)
	// RaiseMemlock does away with RLIMIT_MEMLOCK where maps count against
	// it. When it can't, limit is what remains, in bytes.
	RaiseMemlock() (limit uint64, err error)
	NewMap() error
	NewRing() error
	NewTrie() error
	// FollowMaps: may records of what every process maps be had?
	FollowMaps() error
	// HaveHelper: may programs on tracepoints call it? An error that matches
	// ebpf.ErrNotSupported says no, others that it could not be found out.
	HaveHelper(asm.BuiltinFunc) error
	// Registers and Symbols are those of package deepstack.
	Registers() error
	Symbols() error
	// The Attach functions load and attach programs that do nothing, and
	// take them away again, which may go on in the background.
	AttachTracepoint(id uint64) error
	// AttachByType returns an error for each hook, nil for those that work.
	AttachByType([]hook) []error
	// AttachUprobe attaches to a function of our own.
	AttachUprobe() error
	OpenTracepoints() (tracepoints, error)
	// FollowFiles attaches to the functions that make and release the files of
	// sockets, and says how.
	FollowFiles() (method string, err error)
}

// hook is a place that programs are attached to by its type in the kernel's
// BTF: a tracepoint (ebpf.AttachTraceRawTp) or an iterator
// (ebpf.AttachTraceIter).
type hook struct {
	kind ebpf.AttachType
	name string
}

type tracepoints interface {
	ID(group, name string) (uint64, error)
	Source() string
	Close() error
}

// kernel is the machine we run on.
type kernel struct{}

func (kernel) Release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("read kernel release: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:]), nil
}

func (kernel) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func (kernel) Stat(path string) error {
	_, err := os.Stat(path)
	return err
}

// InInitialUserNS: the kernel gives the initial user namespace a fixed inode
// number (PROC_USER_INIT_INO).
func (kernel) InInitialUserNS() (bool, error) {
	const initial = 0xEFFFFFFD
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return false, fmt.Errorf("read own user namespace: %w", err)
	}
	return st.Ino == initial, nil
}

func (kernel) InInitialPIDNS() (bool, error) { return procfs.New("").InInitialPIDNS() }

func (kernel) NoFile() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read own limit of open files: %w", err)
	}
	return limit.Cur, nil
}

func (kernel) RaiseMemlock() (uint64, error) {
	raise := rlimit.RemoveMemlock()
	if raise == nil {
		return 0, nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return 0, fmt.Errorf("read own limit of locked memory: %w", err)
	}
	return limit.Cur, raise
}

func (kernel) NewMap() error {
	return tryMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
}

func (kernel) NewRing() error {
	return tryMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
}

// NewTrie: as the profiler's own, but for the size.
func (kernel) NewTrie() error {
	const noPrealloc = 1 // BPF_F_NO_PREALLOC, which a trie wants
	return tryMap(&ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 8, MaxEntries: 1, Flags: noPrealloc})
}

func (kernel) FollowMaps() error {
	f, err := mapfollow.Open()
	if err != nil {
		return err
	}
	f.Close()
	return nil
}

func tryMap(spec *ebpf.MapSpec) error {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	return m.Close()
}

func (kernel) HaveHelper(fn asm.BuiltinFunc) error {
	return features.HaveProgramHelper(ebpf.TracePoint, fn)
}

func (kernel) Registers() error { return deepstack.Registers() }
func (kernel) Symbols() error   { return deepstack.Symbols() }

func (kernel) AttachTracepoint(id uint64) error {
	prog, err := ebpf.NewProgram(idle(ebpf.TracePoint))
	if err != nil {
		return err
	}
	defer prog.Close()
	attached, err := tracepoint.Attach(id, prog)
	if err != nil {
		return err
	}
	// For this the kernel waits for all its CPUs, nearly a tenth of a second. Nothing
	// else waits, and what fails here would say nothing about tracing.
	go func() { _ = attached.Close() }()
	return nil
}

// AttachByType loads all programs as one collection, because reading the
// kernel's types takes 20 ms each time. One that is refused fails them all:
// only then they are loaded one by one.
func (kernel) AttachByType(hooks []hook) []error {
	if loadAndAttach(hooks) == nil {
		return make([]error, len(hooks))
	}
	errs := make([]error, len(hooks))
	for i := range hooks {
		errs[i] = loadAndAttach(hooks[i : i+1])
	}
	return errs
}

func loadAndAttach(hooks []hook) error {
	spec := &ebpf.CollectionSpec{Programs: make(map[string]*ebpf.ProgramSpec)}
	for _, h := range hooks {
		prog := idle(ebpf.Tracing)
		prog.AttachType, prog.AttachTo = h.kind, h.name
		spec.Programs[h.name] = prog
	}
	progs, err := ebpf.NewCollection(spec)
	if err != nil {
		return err
	}
	defer progs.Close()
	for _, h := range hooks {
		var attached io.Closer
		if prog := progs.Programs[h.name]; h.kind == ebpf.AttachTraceIter {
			attached, err = link.AttachIter(link.IterOptions{Program: prog})
		} else {
			attached, err = link.AttachTracing(link.TracingOptions{Program: prog})
		}
		if err != nil {
			return err
		}
		if err := attached.Close(); err != nil {
			return err
		}
	}
	return nil
}

// idle is a program that does nothing but return 0.
func idle(kind ebpf.ProgramType) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "sockleak_try", Type: kind, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
}

func (kernel) FollowFiles() (string, error) {
	t, err := release.Open(release.Scope{}, nil)
	if err != nil {
		return "", err
	}
	return t.Method(), t.Close()
}

func (kernel) OpenTracepoints() (tracepoints, error) {
	ids, err := tracepoint.Open()
	if err != nil {
		return nil, err
	}
	return ids, nil
}
