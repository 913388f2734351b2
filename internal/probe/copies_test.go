package probe

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"

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
