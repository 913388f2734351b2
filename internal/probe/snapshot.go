package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// rowSize is the size in bytes of a row as the kernel writes it, without the
// names that follow.
const rowSize = int(unsafe.Sizeof(bpfRow{}))

// maxRowSize is that of the largest: of either name the length is one byte.
const maxRowSize = rowSize + 2*math.MaxUint8

// nextRow returns the first row of b, nil if it isn't complete.
func nextRow(b []byte) []byte {
	if len(b) < rowSize {
		return nil
	}
	size := rowSize + int(b[unsafe.Offsetof(bpfRow{}.LocalName)]) + int(b[unsafe.Offsetof(bpfRow{}.RemoteName)])
	if len(b) < size {
		return nil
	}
	return b[:size]
}

// Rows yields the rows of a snapshot that were put one after the other.
func Rows(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			row := nextRow(b)
			if row == nil || !yield(row) {
				return
			}
			b = b[len(row):]
		}
	}
}

// threads leaves out what the iterator shows more than once. It visits the table
// of a thread that isn't its process's first for each thread that uses it
// (task_seq_get_next): after unshare(2), or when the first thread has ended.
type threads map[threadRow]bool

type threadRow struct {
	table, inode uint64
	fd           int32
	pid          uint32
}

// again reports whether the row was there before.
func (t threads) again(row []byte) bool {
	const flags = unsafe.Offsetof(bpfRow{}.Flags)
	if binary.NativeEndian.Uint16(row[flags:])&uint16(bpfRowFlagROW_THREAD) == 0 {
		return false
	}
	var r bpfRow
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), rowSize), row)
	key := threadRow{r.Table, r.Inode, r.Fd, r.Pid}
	before := t[key]
	t[key] = true
	return before
}

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
	values, err := constants(Config{}, false)
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
	return &Snapshotter{iter: iter, buf: make([]byte, 8*4096+maxRowSize)}, nil
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
	have, shown := 0, threads{}
	for {
		n, err := r.Read(s.buf[have:])
		have += n
		used := 0
		for row := range Rows(s.buf[:have]) {
			used += len(row)
			if !shown.again(row) {
				f(row)
			}
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
