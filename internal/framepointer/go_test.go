package framepointer

import (
	"bytes"
	"encoding/binary"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// returnAddresses returns the return addresses on its caller's stack.
//
//go:noinline
func returnAddresses() []uint64 {
	pcs := make([]uintptr, 64)
	var out []uint64
	for _, pc := range pcs[:runtime.Callers(2, pcs)] {
		out = append(out, uint64(pc))
	}
	return out
}

// A Go stack that ends where goroutines begin is complete, if nothing was cut
// off and the first function's caller was looked at.
func TestGoComplete(t *testing.T) {
	addrs := returnAddresses()
	raw := stack.Raw{ID: 1, Process: event.ProcessKey{PID: uint32(os.Getpid())}, Caller: 1, Addresses: addrs}
	r := newResolver(t)
	r.Capture(raw)
	got := r.Resolve(raw.Process, 1)
	var functions []string
	for _, f := range got.Frames {
		functions = append(functions, f.Function)
	}
	want := []string{"sockleak/internal/framepointer.TestGoComplete", "testing.tRunner", "runtime.goexit"}
	if got.Quality != stack.Complete || got.Reason != "" || !reflect.DeepEqual(functions, want) {
		t.Errorf("got %s %q %q", got.Quality, got.Reason, functions)
	}
	if f := got.Frames[0]; f.Kind != stack.Go || !strings.HasSuffix(f.File, "go_test.go") || f.Line == 0 {
		t.Errorf("got %+v", f)
	}
	for id, change := range []func(*stack.Raw){
		func(r *stack.Raw) { r.Caller = 0 },
		func(r *stack.Raw) { r.Truncated = true },
		func(r *stack.Raw) { r.Addresses = r.Addresses[:2] },
	} {
		cut := raw
		cut.ID = uint64(10 + id)
		change(&cut)
		r.Capture(cut)
		if got := r.Resolve(raw.Process, cut.ID); got.Quality != stack.Partial || got.Reason != reasonWalk &&
			got.Reason != reasonWalk+"; "+reasonDeeper {
			t.Errorf("change %d: got %s %q", id, got.Quality, got.Reason)
		}
	}
}

// Go's own system call has no frame either.
func TestGoCaller(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: the test looks for instructions")
	}
	caller, entry := call(t, reflect.ValueOf(syscall.RawSyscall6).Pointer(), "Syscall6")
	code := instructions(entry)
	at := bytes.Index(code, []byte{0x0f, 0x05}) // SYSCALL
	if at < 0 {
		t.Fatal("no system call in the function")
	}
	addrs := returnAddresses()
	raw := stack.Raw{ID: 1, Process: event.ProcessKey{PID: uint32(os.Getpid())}, Caller: uint64(caller),
		Addresses: append([]uint64{uint64(entry) + uint64(at) + 2}, addrs...)}
	r := newResolver(t)
	r.Capture(raw)
	got := r.Resolve(raw.Process, 1)
	var functions []string
	for _, f := range got.Frames {
		functions = append(functions, f.Function[strings.LastIndexByte(f.Function, '/')+1:])
	}
	first := runtime.FuncForPC(entry).Name()
	want := []string{first[strings.LastIndexByte(first, '/')+1:], "syscall.RawSyscall6", "framepointer.TestGoCaller", "testing.tRunner", "runtime.goexit"}
	if got.Quality != stack.Complete || !reflect.DeepEqual(functions, want) {
		t.Errorf("got %s %q %q, want %q", got.Quality, got.Reason, functions, want)
	}
}

// call returns the return address and the target of the first call in a function
// to one whose name ends in name.
func call(t *testing.T, function uintptr, name string) (after, target uintptr) {
	t.Helper()
	code := instructions(function)
	for i := 0; i+5 <= len(code); i++ {
		after = function + uintptr(i) + 5
		target = after + uintptr(int64(int32(binary.LittleEndian.Uint32(code[i+1:]))))
		if fn := runtime.FuncForPC(target); code[i] == 0xe8 && fn != nil && fn.Entry() == target && strings.HasSuffix(fn.Name(), name) {
			return after, target
		}
	}
	t.Fatalf("no call of %s", name)
	return 0, 0
}

// instructions returns the beginning of a function's code.
func instructions(function uintptr) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&function)), 160)
}
