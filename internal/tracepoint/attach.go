package tracepoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Attach runs prog at the tracepoint with this number, on every CPU, until the
// Closer is closed. link.Tracepoint does the same for those who have a mounted
// tracefs; it takes no number.
//
// The program must return 0: any other value makes the kernel go on and write
// a sample, on the one CPU that the perf event is bound to.
//
// Errors for want of privilege match os.ErrPermission.
func Attach(id uint64, prog *ebpf.Program) (io.Closer, error) {
	if prog.Type() != ebpf.TracePoint {
		return nil, fmt.Errorf("attach to tracepoint %d: program type %s, not %s", id, prog.Type(), ebpf.TracePoint)
	}
	event, err := openEvent(id)
	if err != nil {
		return nil, err
	}
	raw, err := link.AttachRawLink(link.RawLinkOptions{
		Target: int(event.Fd()), Program: prog, Attach: ebpf.AttachPerfEvent,
	})
	if err == nil {
		// The link holds the event from here on.
		if err := event.Close(); err != nil {
			raw.Close()
			return nil, fmt.Errorf("close perf event of tracepoint %d: %w", id, err)
		}
		return raw, nil
	}
	// Linux before 5.15 has no links of this kind (b89fbfbb854c).
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, ebpf.ErrNotSupported) {
		event.Close()
		return nil, fmt.Errorf("link program to tracepoint %d: %w", id, err)
	}
	if err := attachByIoctl(event, prog); err != nil {
		event.Close()
		return nil, fmt.Errorf("attach program to tracepoint %d: %w", id, err)
	}
	return event, nil
}

// openEvent opens the perf event that stands for a tracepoint. A program on it
// belongs to the tracepoint and runs on all CPUs; the event itself has to be
// on some CPU that is online.
func openEvent(id uint64) (*os.File, error) {
	cpu, err := onlineCPU()
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_TRACEPOINT,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Config:      id,
		Sample_type: unix.PERF_SAMPLE_RAW,
		Sample:      1, // period
		Wakeup:      1,
	}
	const everyTask = -1
	fd, err := unix.PerfEventOpen(&attr, everyTask, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open perf event of tracepoint %d: %w", id, err)
	}
	return os.NewFile(uintptr(fd), "perf event"), nil
}

// attachByIoctl: the program then stays as long as the event.
func attachByIoctl(event *os.File, prog *ebpf.Program) error {
	fd := int(event.Fd())
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return fmt.Errorf("set program of perf event: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return fmt.Errorf("enable perf event: %w", err)
	}
	return nil
}

// onlineCPU returns a CPU that is online: one that we may run on. CPU 0 may be
// offline on arm64.
func onlineCPU() (int, error) {
	const most = 8192 // the largest CONFIG_NR_CPUS
	set := unix.NewCPUSet(most)
	if err := unix.SchedGetaffinityDynamic(0, set); err != nil {
		return 0, fmt.Errorf("read own CPU affinity: %w", err)
	}
	for cpu := range most {
		if set.IsSet(cpu) {
			return cpu, nil
		}
	}
	return 0, errors.New("read own CPU affinity: no CPU")
}
