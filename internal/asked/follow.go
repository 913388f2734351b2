package asked

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"sockleak/internal/rootfile"
	"sockleak/internal/symbol"
	"sockleak/internal/tracepoint"
)

const (
	// maxFiles bounds the files that are remembered by whether they have libuv.
	maxFiles = 4096
	// maxRequests bounds what waits to be looked at.
	maxRequests = 8192
	// sweepEvery is how often those that ended without anybody saying so are
	// let go of.
	sweepEvery = 2 * time.Second
)

// follower attaches uprobes to processes and takes them away. Attaching takes
// milliseconds, so it has a goroutine of its own, which owns files and attached.
type follower struct {
	own      *objects
	attach   func() error // nil once it has attached
	requests chan request
	closing  atomic.Bool
	done     sync.WaitGroup
	files    map[rootfile.Identity]contents
	attached map[uint32]*process
	probed   int // of them, those that have uprobes
	// refused are those there was no room for, by whether they need uprobes.
	refused map[uint32]bool

	mu     sync.Mutex
	status Status
}

// Status is what became of the processes that have libuv, or are of Go.
type Status struct {
	Files   int   // mapped by processes, so far, that were taken care of
	Refused int   // processes beyond a bound, be it for a time, and what was not looked at because too much waited
	Err     error // the last that kept a process from being followed
}

// request is a process to look at: all of it, one mapping, files that it will map, or
// its end.
type request struct {
	pid     uint32
	mapping *symbol.Mapping
	files   []string
	served  chan<- struct{} // closed when it is; nil: nobody waits
	gone    bool
}

// contents is what a file has that is of interest.
type contents struct {
	libuv  *library       // nil: not
	golang *askedGoLayout // nil: not, or of an unknown version
}

// library is where libuv is in a file.
type library struct{ places []place }

// process is one that is followed, whoever else gets its number later.
type process struct {
	pidfd  int // tells of its end
	files  map[rootfile.Identity]bool
	probed bool // has uprobes, or was to have some
	links  []link.Link
}

// follow has attach called before there is a process with something to follow.
func follow(own *objects, attach func() error) *follower {
	f := &follower{
		own: own, attach: attach, requests: make(chan request, maxRequests),
		files: map[rootfile.Identity]contents{}, attached: map[uint32]*process{}, refused: map[uint32]bool{},
	}
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

// Ahead takes care of files before a process maps them: it is to execute a program that
// begins with them, and may ask for its first socket sooner than it could be looked at.
// It returns when that is done.
func (t *Tracer) Ahead(pid uint32, files []string) {
	served := make(chan struct{})
	t.follow.requests <- request{pid: pid, files: files, served: served}
	<-served
}

// Gone says that a process has ended.
func (t *Tracer) Gone(pid uint32) { t.follow.ask(request{pid: pid, gone: true}) }

// Status says what became of the processes that were told of so far.
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
		if r.gone {
			return // see sweep
		}
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
	return f.forget(slices.Collect(maps.Keys(f.attached)))
}

func (f *follower) run() {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case r, more := <-f.requests:
			if !more {
				return
			}
			if !f.closing.Load() {
				f.note(r.pid, f.serve(r))
			}
			if r.served != nil {
				close(r.served)
			}
		case <-sweep.C:
			f.note(0, f.sweep())
			f.retry()
		}
	}
}

// note keeps the error for Status. One that ends meanwhile asks for nothing any
// more.
func (f *follower) note(pid uint32, err error) {
	if err == nil || errors.Is(err, symbol.ErrGone) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return
	}
	if errors.Is(err, unix.EMFILE) {
		err = fmt.Errorf("%w: a process takes two for each uprobe, raise the limit with ulimit -n 65536 before starting sockleak", err)
	}
	if pid != 0 {
		err = fmt.Errorf("process %d: %w", pid, err)
	}
	f.mu.Lock()
	f.status.Err = err
	f.mu.Unlock()
}

func (f *follower) serve(r request) error {
	switch {
	case r.gone:
		delete(f.refused, r.pid)
		return f.forget([]uint32{r.pid})
	case r.mapping != nil:
		return f.look(r.pid, r.mapping)
	case r.files != nil:
		return f.ahead(r.pid, r.files)
	}
	mappings, err := symbol.Mappings(r.pid)
	if err != nil {
		return err
	}
	for i := range mappings {
		if mappings[i].Inode != 0 {
			err = errors.Join(err, f.look(r.pid, &mappings[i]))
		}
	}
	return err
}

// sweep lets go of the processes that have ended: that one did is not always
// told, because the event was lost, or too much waited.
func (f *follower) sweep() error {
	pids := slices.Collect(maps.Keys(f.attached))
	return f.forget(slices.DeleteFunc(pids, func(pid uint32) bool { return !f.attached[pid].ended() }))
}

// look attaches to a process if the mapping is of a file with libuv.
func (f *follower) look(pid uint32, m *symbol.Mapping) error {
	file, id, err := symbol.OpenMapped(symbol.Mapped{PID: pid, Start: m.Start, End: m.End, Inode: m.Inode, Path: m.Path})
	if errors.Is(err, rootfile.ErrNotRegular) {
		return nil // a device has no functions
	}
	if err != nil {
		return err
	}
	defer file.Close() // only read from
	return f.follow(pid, file, id, m.Path)
}

// ahead attaches to a process that will map files. Those that can't be opened are left
// to be looked at when it has.
func (f *follower) ahead(pid uint32, files []string) error {
	var errs []error
	for _, path := range files {
		file, id, err := rootfile.Open(path)
		if err != nil {
			continue
		}
		errs = append(errs, f.follow(pid, file, id, path), file.Close())
	}
	return errors.Join(errs...)
}

// follow attaches to a process if a file that it maps has libuv, or is a program of Go.
func (f *follower) follow(pid uint32, file *os.File, id rootfile.Identity, path string) error {
	if p := f.attached[pid]; p != nil && p.ended() {
		if err := f.forget([]uint32{pid}); err != nil {
			return err
		}
	} else if p != nil && p.files[id] {
		return nil
	}
	has, err := f.contents(file, id)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if has == (contents{}) {
		return nil
	}
	p, err := f.process(pid, has.libuv != nil)
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
		err = p.attach(pid, file, path, has.libuv.places)
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
	if _, system := errors.AsType[syscall.Errno](err); system {
		return contents{}, err
	}
	// Else it is the file's fault: that isn't read, and told of, again.
	if len(f.files) >= maxFiles {
		clear(f.files)
	}
	f.files[id] = has
	return has, err
}

// read finds out what there is in a file.
func (f *follower) read(file *os.File) (contents, error) {
	places, err := f.own.places(file)
	if err != nil {
		return contents{}, err
	}
	golang, err := goLayout(file)
	if err != nil {
		return contents{}, err
	}
	has := contents{golang: golang}
	if places != nil {
		has.libuv = &library{places}
	}
	return has, nil
}

// process notes a process that is followed, nil if there are too many. probed says
// whether it is to have uprobes.
func (f *follower) process(pid uint32, probed bool) (*process, error) {
	p := f.attached[pid]
	if !f.room(p, probed) {
		f.refuse(pid, probed)
		return nil, nil
	}
	if p == nil {
		var err error
		if p, err = f.begin(pid); err != nil {
			return nil, err
		}
	}
	if probed && !p.probed {
		p.probed = true
		f.probed++
	}
	return p, nil
}

// begin notes a process that is to be followed.
func (f *follower) begin(pid uint32) (*process, error) {
	if f.attach != nil {
		if err := f.attach(); err != nil {
			return nil, err
		}
		f.attach = nil
	}
	pidfd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return nil, fmt.Errorf("open the process: %w", err)
	}
	if err := f.own.Attached.Put(pid, uint8(1)); err != nil {
		return nil, errors.Join(fmt.Errorf("note the process: %w", err), unix.Close(pidfd))
	}
	p := &process{pidfd: pidfd, files: map[rootfile.Identity]bool{}}
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
		if errors.Is(err, unix.EACCES) {
			return fmt.Errorf("attach to %s of %s: %w: on this kernel uprobes take CAP_SYS_ADMIN", at.function, path, err)
		}
		if err != nil {
			return fmt.Errorf("attach to %s of %s: %w", at.function, path, err)
		}
		p.links = append(p.links, l)
		if err := switchOff(l); err != nil {
			return fmt.Errorf("attach to %s of %s: %w", at.function, path, err)
		}
	}
	return nil
}

// switchOff switches the perf event of a uprobe off. The program runs all the same
// (kernel/trace/trace_uprobe.c: __uprobe_perf_func asks for programs first, and
// uprobe_perf_open has chosen the process), but the event isn't scheduled in and out
// with the thread any more, which costs more than the uprobes where threads wait a lot.
func switchOff(l link.Link) error {
	event, ok := l.(link.PerfEvent)
	if !ok {
		return fmt.Errorf("switch off its perf event: %T has none", l)
	}
	file, err := event.PerfEvent()
	if err != nil {
		return fmt.Errorf("find its perf event: %w", err)
	}
	err = unix.IoctlSetInt(int(file.Fd()), unix.PERF_EVENT_IOC_DISABLE, 0)
	if err != nil {
		err = fmt.Errorf("switch off its perf event: %w", err)
	}
	return errors.Join(err, file.Close())
}

// ended reports whether all threads of the process have ended.
func (p *process) ended() bool {
	poll := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

// forget lets go of processes, and of the handles they left.
func (f *follower) forget(pids []uint32) error {
	var links []link.Link
	var errs []error
	left := map[uint32]bool{}
	for _, pid := range pids {
		p := f.attached[pid]
		if p == nil {
			continue
		}
		delete(f.attached, pid)
		if p.probed {
			f.probed--
		}
		left[pid] = true
		links = append(links, p.links...)
		if err := unix.Close(p.pidfd); err != nil {
			errs = append(errs, fmt.Errorf("close the process: %w", err))
		}
		if err := f.own.Attached.Delete(pid); err != nil {
			errs = append(errs, fmt.Errorf("forget the process: %w", err))
		}
		if err := f.own.Programs.Delete(pid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("forget a program of Go: %w", err))
		}
	}
	if len(left) == 0 {
		return nil
	}
	errs = append(errs, tracepoint.CloseAll(links), f.forgetHandles(left))
	return errors.Join(errs...)
}

// forgetHandles lets go of the handles that processes left.
func (f *follower) forgetHandles(of map[uint32]bool) error {
	var errs []error
	var key askedHandleKey
	var left []askedHandleKey
	var value askedHandle
	entries := f.own.Handles.Iterate()
	for entries.Next(&key, &value) {
		if of[key.Tgid] {
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
