package unwind

import (
	"errors"
	"slices"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/symbol"
)

// nobody has no process.
type nobody struct{}

var errNobody = errors.New("no such process")

func (nobody) Mappings(event.ProcessKey) (*symbol.Process, error) { return nil, errNobody }
func (nobody) Refresh(event.ProcessKey) (*symbol.Process, bool)   { return nil, false }

// dropped notes what the kernel side is told to forget.
type dropped []uint64

func (*dropped) PutStep(uint64, uint32) error { return nil }

func (d *dropped) DropStep(hash uint64) error {
	*d = append(*d, hash)
	return nil
}

// A stack that is pushed out is not known any more, whatever pushed it out.
func TestPushedOut(t *testing.T) {
	var told dropped
	s := New(symbol.New(symbol.Options{}), nobody{}, &told)
	s.max = 2
	for n := range uint64(4) {
		if err := s.Add(&stack.Copy{ID: 100 + n, Seed: 1 + n}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []uint64{1, 2}; !slices.Equal(told, want) {
		t.Errorf("the kernel side was told to forget %v, want %v", told, want)
	}
}

// A copy that came twice is found as long as any that came when the second did.
func TestNamedAgain(t *testing.T) {
	s := New(symbol.New(symbol.Options{}), nobody{}, new(dropped))
	add := func(id uint64) {
		t.Helper()
		if err := s.Add(&stack.Copy{ID: id, Seed: id}); err != nil {
			t.Fatal(err)
		}
	}
	const twice = 1 << 32
	find := func() bool {
		of, known := s.copies[twice]
		return known && of.stack == twice
	}
	add(twice)
	for n := range uint64(maxCopies / 2) {
		add(1 + n)
	}
	add(twice)
	for n := range uint64(maxCopies - 1) {
		add(maxCopies + n)
	}
	if !find() {
		t.Error("it is gone with what came before it")
	}
	add(twice - 1)
	if find() {
		t.Error("it is still there")
	}
	if len(s.copies) > maxCopies || len(s.order) > maxCopies {
		t.Errorf("%d copies and %d places in the order, want %d at most", len(s.copies), len(s.order), maxCopies)
	}
}
