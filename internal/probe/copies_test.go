package probe

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

func TestDecodeCopy(t *testing.T) {
	le := binary.LittleEndian
	record := le.AppendUint32(le.AppendUint32(nil, 42), 3) // pid, size
	for word := uint64(1); word <= 8; word++ {
		record = le.AppendUint64(record, word)
	}
	record = append(record, 'a', 'b', 'c', 'd')
	got, err := decodeCopy(record)
	want := stack.Copy{
		ID: 2, Seed: 3, Process: event.ProcessKey{PID: 42, Start: 1},
		PC: 4, SP: 5, FP: 6, LR: 7, Base: 8, Bytes: []byte("abc"), Cut: true,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for n := range len(record) - 1 {
		if _, err := decodeCopy(record[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// The bound of copies follows --stack-rate, and never says none.
func TestCopiesPerWindow(t *testing.T) {
	for rate, want := range map[uint32]uint32{0: math.MaxUint32, 1: 200, 800: 200, 1000: 250, 40_000: 10_000} {
		if got := copiesPerWindow(rate); got != want {
			t.Errorf("rate %d: %d, want %d", rate, got, want)
		}
	}
}

// memoryOf is walk_steps without a kernel.
type memoryOf []byte

func (m memoryOf) ReadAt(b []byte, at int64) (int, error)  { return copy(b, m[at:]), nil }
func (m memoryOf) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }

func TestWalkSteps(t *testing.T) {
	const sets, ways = uint64(bpfStepLimitWALK_SETS), uint64(bpfStepLimitWALK_WAYS)
	steps := walkSteps{memoryOf(make([]byte, sets*ways*uint64(unsafe.Sizeof(bpfWalkStep{}))))}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// known is which of the hashes 7+n*sets, all of one set, lead to step n.
	known := func() (all []uint64) {
		t.Helper()
		for n := range ways + 2 {
			hash := 7 + n*sets
			set, err := steps.set(hash)
			must(err)
			if way := set.find(hash); way >= 0 {
				if next := uint64(uint32(set[way].What)); next != n {
					t.Errorf("step %d leads to %d", n, next)
				}
				all = append(all, n)
			}
		}
		return all
	}
	for n := range ways {
		must(steps.put(7+n*sets, uint32(n), uint32(100+n)))
	}
	must(steps.put(8, 99, 1)) // the next set is another's
	if got, want := known(), []uint64{0, 1, 2, 3, 4, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("a full set has %d, want %d", got, want)
	}
	must(steps.put(7, 0, 200)) // put again, it is the newest, in its old place
	must(steps.put(7+8*sets, 8, 201))
	if got, want := known(), []uint64{0, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("one more than there is room for: %d, want %d", got, want)
	}
	must(steps.drop(7 + 3*sets))
	must(steps.drop(7 + 1*sets)) // it isn't there any more
	must(steps.put(7+9*sets, 9, 202))
	if got, want := known(), []uint64{0, 2, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("one more after one was dropped: %d, want %d", got, want)
	}
}
