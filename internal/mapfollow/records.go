package mapfollow

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"sockleak/internal/symbol"
)

// Types of records, from include/uapi/linux/perf_event.h.
const (
	recordLost  = 2
	recordComm  = 3
	recordFork  = 7
	recordMmap2 = 10

	miscCommExec = 1 << 13
	protExec     = unix.PROT_EXEC

	headerSize = 8
	// idSize is what sample_id_all adds with PERF_SAMPLE_TID and TIME.
	idSize = 16
)

// record is one record of the kernel's, as far as it matters here.
type record struct {
	kind    uint32
	exec    bool // comm: the name comes from exec
	pid     uint32
	tid     uint32
	parent  uint32 // fork
	time    uint64
	mapping symbol.Mapping // mmap2
}

// parse reads a record; false if it says nothing of interest or is malformed.
// Its bytes are trusted as little as a file's.
func parse(b []byte) (r record, ok bool) {
	if len(b) < headerSize+8+idSize {
		return r, false
	}
	le := binary.LittleEndian
	r.kind = le.Uint32(b)
	misc := le.Uint16(b[4:])
	body := b[headerSize : len(b)-idSize]
	r.time = le.Uint64(b[len(b)-8:])
	r.pid, r.tid = le.Uint32(body), le.Uint32(body[4:])
	switch r.kind {
	case recordLost:
		return r, true
	case recordComm:
		r.exec = misc&miscCommExec != 0
		return r, r.exec
	case recordFork:
		// pid, ppid, tid, ptid.
		if len(body) < 16 {
			return r, false
		}
		r.parent, r.tid = r.tid, le.Uint32(body[8:])
		return r, true
	case recordMmap2:
		return r, r.mmap2(body)
	}
	return r, false
}

// mmap2 reads: pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot,
// flags, filename.
func (r *record) mmap2(body []byte) bool {
	const fixed = 64
	if len(body) < fixed {
		return false
	}
	le := binary.LittleEndian
	start, size := le.Uint64(body[8:]), le.Uint64(body[16:])
	name, _, _ := bytes.Cut(body[fixed:], []byte{0})
	if le.Uint32(body[56:])&protExec == 0 || size == 0 || start+size < start {
		return false
	}
	r.mapping = symbol.Mapping{
		Start: start, End: start + size, Offset: le.Uint64(body[24:]),
		Dev:   uint64(le.Uint32(body[32:]))<<32 | uint64(le.Uint32(body[36:])),
		Inode: le.Uint64(body[40:]), Path: string(name),
	}
	return true
}
