package asked

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"sockleak/internal/rootfile"
	"sockleak/internal/symbol"
	"sockleak/internal/tracepoint"
)

const (
	// maxProcesses bounds the processes with uprobes at one time.
	maxProcesses = 256
	// maxFiles bounds the files that are remembered by whether they have libuv.
	maxFiles = 4096
	// maxRequests bounds what waits to be looked at.
	maxRequests = 8192
)

// follower attaches uprobes to processes and takes them away. Attaching takes
// milliseconds, so it has a goroutine of its own, which owns files and attached.
type follower struct {
	own      *objects
	requests chan request
	closing  atomic.Bool
	done     sync.WaitGroup
	files    map[rootfile.Identity]contents
	attached map[uint32]*process

	mu     sync.Mutex
	status Status
}

// Status is what became of the processes that have libuv, or are of Go.
type Status struct {
	Files   int   // mapped by processes, so far, that were taken care of
	Refused int   // processes beyond the bound, and mappings that were not looked at
	Err     error // the last that kept a process from being followed
}

// request is a process to look at: all of it, one mapping, or its end.
type request struct {
	pid     uint32
	mapping *symbol.Mapping
	gone    bool
}

// contents is what a file has that is of interest.
type contents struct {
	libuv  *library       // nil: not
	golang *askedGoLayout // nil: not, or of an unknown version
}

// library is where libuv is in a file.
type library struct{ places []place }

type process struct {
	files map[rootfile.Identity]bool
	links []link.Link
}

func follow(own *objects) *follower {
	f := &follower{own: own, requests: make(chan request, maxRequests), files: map[rootfile.Identity]contents{}, attached: map[uint32]*process{}}
	f.done.Go(f.run)
	return f
}

// Process has a process that lives looked at for libuv.
func (t *Tracer) Process(pid uint32) { t.follow.ask(request{pid: pid}) }

// Mapped tells of code that a process has mapped.
func (t *Tracer) Mapped(pid uint32, m symbol.Mapping) {
	if m.Inode != 0 {
		t.follow.ask(request{pid: pid, mapping: &m})
	}
}

// Gone says that a process has ended.
func (t *Tracer) Gone(pid uint32) { t.follow.ask(request{pid: pid, gone: true}) }

// Status says how many processes are followed.
func (t *Tracer) Status() Status {
	t.follow.mu.Lock()
	defer t.follow.mu.Unlock()
	return t.follow.status
}

// ask never waits: whoever tells of mappings has events to follow.
func (f *follower) ask(r request) {
	select {
	case f.requests <- r:
	default:
		f.mu.Lock()
		f.status.Refused++
		f.mu.Unlock()
	}
}

// close detaches from all processes. What waits to be looked at is not looked at
// any more.
func (f *follower) close() error {
	f.closing.Store(true)
	close(f.requests)
	f.done.Wait()
	var links []link.Link
	for _, p := range f.attached {
		links = append(links, p.links...)
	}
	clear(f.attached)
	return tracepoint.CloseAll(links)
}

func (f *follower) run() {
	for r := range f.requests {
		if f.closing.Load() {
			continue
		}
		err := f.serve(r)
		if err == nil || errors.Is(err, symbol.ErrGone) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // one that ends meanwhile asks for nothing any more
		}
		f.mu.Lock()
		f.status.Err = fmt.Errorf("process %d: %w", r.pid, err)
		f.mu.Unlock()
	}
}

func (f *follower) serve(r request) error {
	switch {
	case r.gone:
		return f.forget(r.pid)
	case r.mapping != nil:
		return f.look(r.pid, r.mapping)
	}
	maps, err := symbol.Mappings(r.pid)
	if err != nil {
		return err
	}
	for i := range maps {
		if maps[i].Inode != 0 {
			if err := f.look(r.pid, &maps[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// look attaches to a process if the mapping is of a file with libuv.
func (f *follower) look(pid uint32, m *symbol.Mapping) error {
	file, id, err := symbol.OpenMapped(symbol.Mapped{PID: pid, Start: m.Start, End: m.End, Inode: m.Inode, Path: m.Path})
	if err != nil {
		return nil // a file that can't be opened is hardly a program
	}
	defer file.Close() // only read from
	if p := f.attached[pid]; p != nil && p.files[id] {
		return nil
	}
	has, err := f.contents(file, id)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Path, err)
	}
	if has == (contents{}) {
		return nil
	}
	p, err := f.process(pid)
	if p == nil {
		return err
	}
	p.files[id] = true
	if has.golang != nil {
		if err := f.own.Programs.Put(pid, *has.golang); err != nil {
			return fmt.Errorf("note a program of Go: %w", err)
		}
	}
	if has.libuv != nil {
		err = p.attach(pid, file, m.Path, has.libuv.places)
	}
	f.mu.Lock()
	f.status.Files++
	f.mu.Unlock()
	return err
}

// contents returns what there is in a file, remembered by its identity: a uprobe
// at an offset of what the file was before could be inside of an instruction, and
// end the program.
func (f *follower) contents(file *os.File, id rootfile.Identity) (contents, error) {
	if has, known := f.files[id]; known {
		return has, nil
	}
	has, err := f.read(file)
	if err != nil {
		return contents{}, err
	}
	if len(f.files) >= maxFiles {
		clear(f.files)
	}
	f.files[id] = has
	return has, nil
}

// read finds out what there is in a file.
func (f *follower) read(file *os.File) (contents, error) {
	places, err := f.own.places(file)
	if err != nil {
		return contents{}, err
	}
	has := contents{golang: goLayout(file)}
	if places != nil {
		has.libuv = &library{places}
	}
	return has, nil
}

// process notes a process that is followed, nil if there are too many.
func (f *follower) process(pid uint32) (*process, error) {
	if p := f.attached[pid]; p != nil {
		return p, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.attached) >= maxProcesses {
		f.status.Refused++
		return nil, nil
	}
	if err := f.own.Attached.Put(pid, uint8(1)); err != nil {
		return nil, fmt.Errorf("note the process: %w", err)
	}
	p := &process{files: map[rootfile.Identity]bool{}}
	f.attached[pid] = p
	return p, nil
}

// attach puts uprobes into one process, and in no other that maps the file.
func (p *process) attach(pid uint32, file *os.File, path string, places []place) error {
	exe, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	for _, at := range places {
		l, err := exe.Uprobe("", at.program, &link.UprobeOptions{Address: at.offset, PID: int(pid)})
		if err != nil {
			return fmt.Errorf("attach to %s of %s: %w", at.function, path, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

// forget lets go of a process that ended, and of the handles it left.
func (f *follower) forget(pid uint32) error {
	p := f.attached[pid]
	if p == nil {
		return nil
	}
	delete(f.attached, pid)
	errs := []error{tracepoint.CloseAll(p.links)}
	if err := f.own.Attached.Delete(pid); err != nil {
		errs = append(errs, fmt.Errorf("forget the process: %w", err))
	}
	if err := f.own.Programs.Delete(pid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		errs = append(errs, fmt.Errorf("forget a program of Go: %w", err))
	}
	return errors.Join(append(errs, f.forgetHandles(pid))...)
}

// forgetHandles lets go of the handles that a process left.
func (f *follower) forgetHandles(pid uint32) error {
	var errs []error
	var key askedHandleKey
	var left []askedHandleKey
	var value askedHandle
	entries := f.own.Handles.Iterate()
	for entries.Next(&key, &value) {
		if key.Tgid == pid {
			left = append(left, key)
		}
	}
	// One that ended the walk early is seen at the end of another process.
	for _, key := range left {
		if err := f.own.Handles.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("forget a handle: %w", err))
		}
	}
	return errors.Join(errs...)
}
