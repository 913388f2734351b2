package deepstack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"
)

// Poll hands over the Births there are, in the order of each thread, without
// waiting.
func (t *Tier) Poll(f func(Birth)) error {
	t.births.SetDeadline(time.Unix(1, 0)) // long past: don't wait
	for {
		err := t.births.ReadInto(&t.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer of stacks: %w", err)
		}
		b, err := decode(t.record.RawSample)
		if err != nil {
			return err
		}
		if b.Stack == 0 {
			t.unknown++
		}
		f(b)
	}
}

// decode reads a struct deep_birth.
func decode(raw []byte) (Birth, error) {
	var r deepDeepBirth
	if len(raw) < int(unsafe.Sizeof(r)) {
		return Birth{}, fmt.Errorf("decode a birth: %d bytes, not %d", len(raw), unsafe.Sizeof(r))
	}
	order := binary.NativeEndian
	b := Birth{
		Time:  order.Uint64(raw[unsafe.Offsetof(r.Time):]),
		Inode: order.Uint64(raw[unsafe.Offsetof(r.Inode):]),
		Stack: order.Uint64(raw[unsafe.Offsetof(r.Stack):]),
		Use:   order.Uint64(raw[unsafe.Offsetof(r.Use):]),
		PID:   order.Uint32(raw[unsafe.Offsetof(r.Pid):]),
		TID:   order.Uint32(raw[unsafe.Offsetof(r.Tid):]),
	}
	if deepDeepOutcome(order.Uint32(raw[unsafe.Offsetof(r.Outcome):])) != deepDeepOutcomeOUTCOME_WALKED {
		b.Stack = 0
	}
	return b, nil
}

// Loss reads the counters.
func (t *Tier) Loss() (Loss, error) {
	var sums [deepDeepCounterDEEP_COUNTERS]uint64
	for i := range sums {
		var each []uint64
		if err := t.unwinder.own.Counters.Lookup(uint32(i), &each); err != nil {
			return Loss{}, fmt.Errorf("read counter %d: %w", i, err)
		}
		for _, n := range each {
			sums[i] += n
		}
	}
	return Loss{
		Asked: sums[deepDeepCounterDEEP_ASKED], RingFull: sums[deepDeepCounterDEEP_RING_FULL],
		NotRun: sums[deepDeepCounterDEEP_NOT_RUN], Repeated: sums[deepDeepCounterDEEP_REPEATED],
		Unknown: t.unknown,
	}, nil
}
