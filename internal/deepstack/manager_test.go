package deepstack

import (
	"encoding/binary"
	"reflect"
	"testing"
	"unsafe"

	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/support"
)

// record is a stack as the profiler's programs send it, with so many words of
// frames, of which the first are the kernel's.
func record(kernel uint16, words ...uint64) []byte {
	var r support.Trace
	order := binary.NativeEndian
	b := make([]byte, unsafe.Offsetof(r.Frame_data))
	order.PutUint32(b[unsafe.Offsetof(r.Pid):], 41)
	order.PutUint32(b[unsafe.Offsetof(r.Tid):], 42)
	order.PutUint64(b[unsafe.Offsetof(r.Ktime):], 43)
	order.PutUint64(b[unsafe.Offsetof(r.Value):], 44)
	order.PutUint16(b[unsafe.Offsetof(r.Frame_data_len):], uint16(len(words)))
	order.PutUint16(b[unsafe.Offsetof(r.Num_frames):], 2)
	order.PutUint16(b[unsafe.Offsetof(r.Num_kernel_frames):], kernel)
	for _, w := range words {
		b = order.AppendUint64(b, w)
	}
	return b
}

// What the kernel has on a stack is left out, and padding behind it.
func TestReadTrace(t *testing.T) {
	var got libpf.EbpfTrace
	if err := readTrace(append(record(2, 1, 2, 3, 4, 5), 0, 0, 0, 0), &got); err != nil {
		t.Fatal(err)
	}
	want := libpf.EbpfTrace{PID: 41, TID: 42, KTime: 43, Value: 44, NumFrames: 2}
	copy(want.FrameDataBuf[:], []uint64{3, 4, 5})
	want.FrameData = want.FrameDataBuf[:3]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v %+v, want %v", got.FrameData, got.Value, want.FrameData)
	}
}

// A record that doesn't hold together is an error.
func TestReadTraceDamaged(t *testing.T) {
	whole := record(1, 1, 2, 3)
	for n := range whole {
		if err := readTrace(whole[:n], &libpf.EbpfTrace{}); err == nil {
			t.Errorf("%d of %d bytes: no error", n, len(whole))
		}
	}
	if err := readTrace(record(4, 1, 2, 3), &libpf.EbpfTrace{}); err == nil {
		t.Error("more frames of the kernel than there are: no error")
	}
	if err := readTrace(record(0, make([]uint64, len(libpf.EbpfTrace{}.FrameDataBuf)+1)...), &libpf.EbpfTrace{}); err == nil {
		t.Error("more frames than the profiler has room for: no error")
	}
}
