package preflight

import (
	"errors"
	"os"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockleak/internal/tracepoint"
)

// fake is a machine on which everything works but what a test breaks.
type fake struct {
	files       map[string]string // that exist; Stat sees them too
	userNS      bool              // in a user namespace of our own
	pidNS       bool              // in a pid namespace of our own
	nsErr       error
	noFile      uint64
	memlock     uint64
	memlockErr  error
	mapErr      error
	ringErr     error
	trieErr     error
	mapsErr     error
	helperErr   map[asm.BuiltinFunc]error
	regsErr     error
	symbolsErr  error // beside what the settings in files hide
	openErr     error
	lacks       []string // tracepoints of system calls that are missing
	lackErr     error    // why
	attachErr   error
	uprobeErr   error
	byType      map[string]error // by hook
	releaseErr  error
	btfErr      error
	followErr   error
	openedIDs   int
	attachedIDs []uint64
	tried       []string // what is not done for nothing: attaches, maps
}

const (
	rootStatus = "Name:\tsockleak\nUid:\t0\t0\t0\t0\nCapInh:\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
	userStatus = "Name:\tsockleak\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nSeccomp:\t0\n"
)

func working() *fake {
	return &fake{
		files: map[string]string{"/proc/self/status": rootStatus, "/sys/kernel": "", "/sys/kernel/btf/vmlinux": "",
			"/proc/sys/kernel/kptr_restrict": "0\n", "/proc/sys/kernel/perf_event_paranoid": "2\n"},
		noFile:    20000,
		lackErr:   tracepoint.ErrNotFound,
		helperErr: map[asm.BuiltinFunc]error{},
		byType:    map[string]error{},
	}
}

func (f *fake) Release() (string, error) { return "5.10.0 x86_64", f.releaseErr }

func (f *fake) ReadFile(path string) ([]byte, error) {
	text, ok := f.files[path]
	if !ok {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	return []byte(text), nil
}

func (f *fake) Stat(path string) error {
	if f.btfErr != nil && path == "/sys/kernel/btf/vmlinux" {
		return f.btfErr
	}
	_, err := f.ReadFile(path)
	return err
}

func (f *fake) InInitialUserNS() (bool, error)      { return !f.userNS, f.nsErr }
func (f *fake) InInitialPIDNS() (bool, error)       { return !f.pidNS, f.nsErr }
func (f *fake) NoFile() (uint64, error)             { return f.noFile, f.nsErr }
func (f *fake) RaiseMemlock() (uint64, error)       { return f.memlock, f.memlockErr }
func (f *fake) NewMap() error                       { return f.mapErr }
func (f *fake) NewRing() error                      { return f.try("ring", f.ringErr) }
func (f *fake) NewTrie() error                      { return f.try("trie", f.trieErr) }
func (f *fake) FollowMaps() error                   { return f.try("maps", f.mapsErr) }
func (f *fake) HaveHelper(fn asm.BuiltinFunc) error { return f.helperErr[fn] }

func (f *fake) Registers() error { return f.regsErr }

// Symbols hides them as the kernel does, by its settings and our capabilities.
func (f *fake) Symbols() error {
	if f.symbolsErr != nil {
		return f.symbolsErr
	}
	restrict, paranoid := sysctl(f, "kptr_restrict"), sysctl(f, "perf_event_paranoid")
	if restrict != "2" && (!lacks(f, capSyslog) || restrict == "0" && paranoid <= "1") {
		return nil
	}
	return errors.New("hidden")
}

// try notes that something was tried.
func (f *fake) try(what string, err error) error {
	f.tried = append(f.tried, what)
	return err
}

func (f *fake) AttachTracepoint(id uint64) error {
	f.attachedIDs = append(f.attachedIDs, id)
	return f.try("tracepoint", f.attachErr)
}

func (f *fake) AttachUprobe() error { return f.try("uprobe", f.uprobeErr) }

func (f *fake) AttachByType(hooks []hook) []error {
	var errs []error
	for _, h := range hooks {
		f.tried = append(f.tried, h.name)
		if iterator := h.kind == ebpf.AttachTraceIter; iterator != (h.name == "task_file") {
			errs = append(errs, errors.New("wrong kind of hook"))
			continue
		}
		errs = append(errs, f.byType[h.name])
	}
	return errs
}

func (f *fake) OpenTracepoints() (tracepoints, error) {
	if f.openErr != nil {
		return nil, f.openErr
	}
	f.openedIDs++
	f.tried = append(f.tried, "tracefs")
	return fakeIDs{f}, nil
}

type fakeIDs struct{ *fake }

func (f fakeIDs) ID(group, name string) (uint64, error) {
	if group != "syscalls" || slices.Contains(f.lacks, name) {
		return 0, f.lackErr
	}
	return uint64(len(name)), nil
}

func (fakeIDs) Source() string { return "/sys/kernel/tracing" }

func (f fakeIDs) Close() error {
	f.openedIDs--
	return nil
}

func (f *fake) FollowFiles() (string, error) { return "fentry", f.try("release", f.followErr) }
