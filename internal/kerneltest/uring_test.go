package kerneltest

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring, by include/uapi/linux/io_uring.h. It does one thing at a
// time.
type ring struct {
	t          *testing.T
	fd         int
	sq, cq     []byte
	entries    []byte
	sqTail     *uint32
	sqMask     uint32
	array      []byte
	cqHead     *uint32
	cqMask     uint32
	completion []byte
}

// Offsets in the mappings, opcodes and flags.
const (
	offSQRing, offCQRing, offSQEs = 0, 0x8000000, 0x10000000
	opAccept, opClose, opSocket   = 13, 19, 45
	enterGetEvents                = 1
	registerFiles                 = 2
	sqeSize, cqeSize              = 64, 16
)

// newRing makes a ring with room for so many direct descriptors. The kernels that we
// test on all have that.
func newRing(t *testing.T, files int) *ring {
	t.Helper()
	const entries = 8
	// struct io_uring_params: 10 words, then the offsets in the rings of
	// submissions and of completions, 10 words each.
	var params [30]uint32
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, entries, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		t.Fatalf("set up an io_uring: %v", errno)
	}
	r := &ring{t: t, fd: int(fd)}
	t.Cleanup(func() { unix.Close(r.fd) })
	sqOffsets, cqOffsets := params[10:20], params[20:30]
	r.sq = r.mmap(offSQRing, sqOffsets[6]+4*params[0])
	r.cq = r.mmap(offCQRing, cqOffsets[5]+cqeSize*params[1])
	r.entries = r.mmap(offSQEs, sqeSize*params[0])
	r.sqTail, r.sqMask = word(r.sq, sqOffsets[1]), *word(r.sq, sqOffsets[2])
	r.array = r.sq[sqOffsets[6]:]
	r.cqHead, r.cqMask = word(r.cq, cqOffsets[0]), *word(r.cq, cqOffsets[2])
	r.completion = r.cq[cqOffsets[5]:]
	if files == 0 {
		return r
	}
	none := slices.Repeat([]int32{-1}, files)
	_, _, errno = unix.Syscall6(unix.SYS_IO_URING_REGISTER, fd, registerFiles,
		uintptr(unsafe.Pointer(&none[0])), uintptr(files), 0, 0)
	if errno != 0 {
		t.Fatalf("register direct descriptors: %v", errno)
	}
	return r
}

func word(mapping []byte, offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&mapping[offset])) }

func (r *ring) mmap(offset int64, size uint32) []byte {
	r.t.Helper()
	m, err := unix.Mmap(r.fd, offset, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		r.t.Fatalf("map the io_uring: %v", err)
	}
	r.t.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// do submits one entry and returns its result.
func (r *ring) do(opcode byte, fd int32, offset uint64, fileIndex uint32) int32 {
	r.t.Helper()
	tail := atomic.LoadUint32(r.sqTail)
	slot := tail & r.sqMask
	sqe := r.entries[slot*sqeSize:][:sqeSize]
	clear(sqe)
	sqe[0] = opcode
	binary.NativeEndian.PutUint32(sqe[4:], uint32(fd))
	binary.NativeEndian.PutUint64(sqe[8:], offset)
	binary.NativeEndian.PutUint32(sqe[44:], fileIndex)
	binary.NativeEndian.PutUint32(r.array[4*slot:], slot)
	atomic.StoreUint32(r.sqTail, tail+1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, enterGetEvents, 0, 0); errno != 0 {
		r.t.Fatalf("enter the io_uring: %v", errno)
	}
	head := atomic.LoadUint32(r.cqHead)
	result := int32(binary.NativeEndian.Uint32(r.completion[(head&r.cqMask)*cqeSize+8:]))
	atomic.StoreUint32(r.cqHead, head+1)
	return result
}

// socket makes a TCP socket: in the table of direct descriptors at the index given
// from 1 on, or with 0 as an ordinary descriptor, which is the result.
func (r *ring) socket(index uint32) int32 {
	return r.do(opSocket, unix.AF_INET, unix.SOCK_STREAM, index)
}

// accept takes a connection, the same way.
func (r *ring) accept(listener int, index uint32) int32 {
	return r.do(opAccept, int32(listener), 0, index)
}

// closeDirect closes a direct descriptor, by its index from 1 on.
func (r *ring) closeDirect(index uint32) int32 { return r.do(opClose, 0, 0, index) }

// close closes an ordinary descriptor.
func (r *ring) close(fd int32) int32 { return r.do(opClose, fd, 0, 0) }
