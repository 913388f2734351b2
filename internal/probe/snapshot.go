package probe

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// RowSize is the size in bytes of a row as the kernel writes it.
const RowSize = int(unsafe.Sizeof(bpfRow{}))

// Snapshotter reads the kernel's own tables: every descriptor of every process,
// in all network namespaces, that refers to a socket.
type Snapshotter struct {
	iter *link.Iter
	buf  []byte
	own  *ebpf.Program // to close; nil when it belongs to a Probe
}

// OpenSnapshotter loads the iterator alone: no hook is attached anywhere.
func OpenSnapshotter() (*Snapshotter, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	values, err := constants(Config{})
	if err != nil {
		return nil, err
	}
	// It follows TCP sockets for the hooks; here nobody is in scope.
	values[bpfVarCfgScope] = uint32(bpfScopeRuleSCOPE_PIDS)
	if err := set(spec, values); err != nil {
		return nil, err
	}
	var o struct {
		TaskFile *ebpf.Program `ebpf:"task_file"`
	}
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, fmt.Errorf("load the task_file iterator: %w", err)
	}
	s, err := newSnapshotter(o.TaskFile)
	if err != nil {
		return nil, errors.Join(err, o.TaskFile.Close())
	}
	s.own = o.TaskFile
	return s, nil
}

func newSnapshotter(prog *ebpf.Program) (*Snapshotter, error) {
	iter, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, fmt.Errorf("attach the task_file iterator: %w", err)
	}
	// The kernel hands out at most eight pages a read (bpf_seq_read).
	return &Snapshotter{iter: iter, buf: make([]byte, 8*4096+RowSize)}, nil
}

// Snapshot calls f with every row. A descriptor opened before start and closed
// after end is among them; one that came or went meanwhile may be. The bytes are
// valid during the call.
func (s *Snapshotter) Snapshot(f func(row []byte)) (start, end uint64, err error) {
	start = Now()
	r, err := s.iter.Open()
	if err != nil {
		return start, Now(), fmt.Errorf("start the task_file iterator: %w", err)
	}
	defer r.Close()
	have := 0
	for {
		n, err := r.Read(s.buf[have:])
		have += n
		used := 0
		for ; have-used >= RowSize; used += RowSize {
			f(s.buf[used : used+RowSize])
		}
		have = copy(s.buf, s.buf[used:have])
		switch {
		case errors.Is(err, io.EOF):
			return start, Now(), nil
		case errors.Is(err, unix.EAGAIN):
			// A million files without a socket among them: it goes on from
			// there (bpf_seq_read, MAX_ITER_OBJECTS).
		case err != nil:
			return start, Now(), fmt.Errorf("read the task_file iterator: %w", err)
		}
	}
}

// Close frees the iterator.
func (s *Snapshotter) Close() error {
	err := s.iter.Close()
	if s.own != nil {
		err = errors.Join(err, s.own.Close())
	}
	return err
}
