package mapfollow

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringPages is the size of one CPU's buffer: room for some 2,000 records between
// two looks.
const ringPages = 64

// ring is the buffer that the kernel fills for one CPU: a page of positions
// (struct perf_event_mmap_page), then the records.
type ring struct {
	fd   int
	mem  []byte
	data []byte
	buf  []byte // reused: a record that wraps around
}

func openRing(cpu int) (*ring, error) {
	attr := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_SOFTWARE,
		Config:      unix.PERF_COUNT_SW_DUMMY,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample_type: unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_TIME,
		// Mmap alone is executable mappings; Mmap2 says more of each. Task is
		// fork and exit, comm with CommExec tells of exec.
		Bits: unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitTask | unix.PerfBitComm | unix.PerfBitCommExec |
			unix.PerfBitSampleIDAll | unix.PerfBitUseClockID,
		// That of a process's start.
		Clockid: unix.CLOCK_BOOTTIME,
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("perf_event_open: %w", err)
	}
	page := os.Getpagesize()
	mem, err := unix.Mmap(fd, 0, (1+ringPages)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("map the buffer: %w", err)
	}
	return &ring{fd: fd, mem: mem, data: mem[page:]}, nil
}

// Where data_head and data_tail are in struct perf_event_mmap_page.
const (
	headOffset = 1024
	tailOffset = 1032
)

// read calls f with every record there is. The bytes are valid during the call.
func (r *ring) read(f func([]byte)) {
	head := (*uint64)(unsafe.Pointer(&r.mem[headOffset]))
	tail := (*uint64)(unsafe.Pointer(&r.mem[tailOffset]))
	size := uint64(len(r.data))
	end, pos := atomic.LoadUint64(head), *tail
	for pos < end {
		at := pos % size
		length := uint64(binary.LittleEndian.Uint16(r.data[at+6:]))
		if length < headerSize || length > end-pos {
			pos = end // can't be; what came is of no use
			break
		}
		if at+length <= size {
			f(r.data[at : at+length])
		} else {
			r.buf = append(append(r.buf[:0], r.data[at:]...), r.data[:at+length-size]...)
			f(r.buf)
		}
		pos += length
	}
	atomic.StoreUint64(tail, pos)
}

func (r *ring) close() error {
	err := unix.Munmap(r.mem)
	if cerr := unix.Close(r.fd); err == nil {
		err = cerr
	}
	return err
}

// onlineCPUs reads a list like "0-3,5".
func onlineCPUs() ([]int, error) {
	const path = "/sys/devices/system/cpu/online"
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("list the CPUs: %w", err)
	}
	var cpus []int
	for _, part := range strings.Split(strings.TrimSpace(string(text)), ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.Atoi(low)
		last, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || last < first || last > 1<<16 {
			return nil, fmt.Errorf("list the CPUs: %s has %q", path, part)
		}
		for n := first; n <= last; n++ {
			cpus = append(cpus, n)
		}
	}
	return cpus, nil
}
