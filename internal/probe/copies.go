package probe

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"
	"unsafe"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// copiesPerWindow bounds the copies of stacks that one process makes in COPY_WINDOW
// of bpf/copy.h, which is a quarter of a second, 8 KB each: its part of the stacks
// that are taken in a second, but not less than leastCopies, because calls that were
// not seen before have stacks beside the rate.
func copiesPerWindow(stackRate uint32) uint32 {
	if stackRate == 0 {
		return math.MaxUint32
	}
	return max(leastCopies, stackRate/4)
}

// leastCopies is a fifth of what the ring buffer has room for.
const leastCopies = 200

// Copies calls f with the copies of stacks that there are, without waiting. The
// one that an event names was sent before the event. The copy is valid during the
// call.
func (p *Probe) Copies(f func(*stack.Copy)) error {
	if p.copies == nil {
		return nil
	}
	p.copies.SetDeadline(time.Unix(1, 0)) // long past
	for {
		err := p.copies.ReadInto(&p.copyRecord)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer of stacks: %w", err)
		}
		c, err := decodeCopy(p.copyRecord.RawSample)
		if err != nil {
			return err
		}
		f(&c)
	}
}

// decodeCopy reads a struct stack_copy. The bytes stay in the record.
func decodeCopy(record []byte) (stack.Copy, error) {
	const head = unsafe.Offsetof(bpfStackCopy{}.Bytes)
	var c bpfStackCopy
	if len(record) < int(head) {
		return stack.Copy{}, fmt.Errorf("copy of a stack: %w", ErrShort)
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&c)), head), record)
	if uint64(c.Size) > uint64(len(record))-uint64(head) {
		return stack.Copy{}, fmt.Errorf("copy of a stack: %w", ErrShort)
	}
	return stack.Copy{
		ID: c.Id, Seed: c.Seed, Process: event.ProcessKey{PID: c.Pid, Start: c.Start},
		PC: c.Pc, SP: c.Sp, FP: c.Fp, LR: c.Lr,
		Base: c.Base, Bytes: record[head:][:c.Size], Cut: int(c.Size) < len(c.Bytes),
	}, nil
}

// CopyBytes is the size of a copy that could be read whole.
const CopyBytes = uint64(len(bpfStackCopy{}.Bytes))

// What the kernel side does at a step beside reading a word of the stack.
const (
	StepEnd = uint32(bpfStepSTEP_END)
	StepFP  = uint32(bpfStepSTEP_FP)
	StepLR  = uint32(bpfStepSTEP_LR)
)

// MaxSteps is how many steps of a walk the kernel side follows.
const MaxSteps = int(bpfStepLimitMAX_STEPS)

// PutStep tells the kernel side what comes after the hash of a walk so far: the
// offset of the word that is read from the base of the copy, or one of Step*.
func (p *Probe) PutStep(hash uint64, next uint32) error {
	return p.steps.put(hash, next, uint32(Now()/uint64(time.Second)))
}

// DropStep takes a step back.
func (p *Probe) DropStep(hash uint64) error { return p.steps.drop(hash) }

// walkSteps is walk_steps of bpf/copy.h as memory. One goroutine writes it, while the
// kernel side reads.
type walkSteps struct {
	memory interface {
		io.ReaderAt
		io.WriterAt
	}
}

// put writes a step over the one with the same hash, or else the oldest of its set;
// what is empty is older than all. now is in s of CLOCK_MONOTONIC.
func (s walkSteps) put(hash uint64, next, now uint32) error {
	set, err := s.set(hash)
	if err != nil {
		return err
	}
	way := set.find(hash)
	if way < 0 {
		way = set.oldest()
	}
	what := uint64(now)<<32 | uint64(next)
	return s.write(hash, way, bpfWalkStep{Check: hash ^ what, What: what})
}

func (s walkSteps) drop(hash uint64) error {
	set, err := s.set(hash)
	if err != nil {
		return err
	}
	if way := set.find(hash); way >= 0 {
		return s.write(hash, way, bpfWalkStep{})
	}
	return nil
}

type walkSet [bpfStepLimitWALK_WAYS]bpfWalkStep

// find returns where the step with a hash is, -1 if it isn't there.
func (s *walkSet) find(hash uint64) int {
	return slices.IndexFunc(s[:], func(w bpfWalkStep) bool { return w.What != 0 && w.Check^w.What == hash })
}

func (s *walkSet) oldest() (way int) {
	for i := range s {
		if s[i].What>>32 < s[way].What>>32 {
			way = i
		}
	}
	return way
}

func (s walkSteps) set(hash uint64) (set walkSet, err error) {
	b := (*[unsafe.Sizeof(set)]byte)(unsafe.Pointer(&set))
	if _, err := s.memory.ReadAt(b[:], stepOffset(hash, 0)); err != nil {
		return set, fmt.Errorf("read a step of a stack: %w", err)
	}
	return set, nil
}

func (s walkSteps) write(hash uint64, way int, w bpfWalkStep) error {
	b := (*[unsafe.Sizeof(w)]byte)(unsafe.Pointer(&w))
	if _, err := s.memory.WriteAt(b[:], stepOffset(hash, way)); err != nil {
		return fmt.Errorf("tell the kernel side a step of a stack: %w", err)
	}
	return nil
}

func stepOffset(hash uint64, way int) int64 {
	set := int64(hash % uint64(bpfStepLimitWALK_SETS))
	return set*int64(unsafe.Sizeof(walkSet{})) + int64(way)*int64(unsafe.Sizeof(bpfWalkStep{}))
}
