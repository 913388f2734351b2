package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

const (
	// maxAside bounds the records that are kept in memory, in bytes. Then the ring
	// fills, and the kernel counts what is lost.
	maxAside = 64 << 20
	// asideFlush is how often the ring is emptied.
	asideFlush = 20 * time.Millisecond
)

// aside is records that were read while nobody could take them.
type aside struct {
	records []byte // one after the other
	ends    []int  // where each ends
	record  ringbuf.Record
}

// Aside calls f, and keeps the records that come meanwhile for the next Read: the
// symbols of a large program take seconds to read, and the ring would be full by
// then. f must not call Read.
func (p *Probe) Aside(f func() error) error {
	over, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.keep(over) }()
	err := f()
	close(over)
	return errors.Join(err, <-done)
}

// Kept is how many records of Aside are left for Read.
func (p *Probe) Kept() int { return len(p.aside.ends) }

// keep reads until it is over, or no more can be kept.
func (p *Probe) keep(over <-chan struct{}) error {
	for {
		select {
		case <-over:
			return nil
		case <-time.After(asideFlush):
		}
		p.ring.SetDeadline(time.Now())
		for len(p.aside.records) < maxAside {
			err := p.ring.ReadInto(&p.aside.record)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("read the ring buffer: %w", err)
			}
			p.aside.records = append(p.aside.records, p.aside.record.RawSample...)
			p.aside.ends = append(p.aside.ends, len(p.aside.records))
		}
	}
}

// take calls f with at most max of the records that were kept, the oldest first, and
// returns how many it were.
func (a *aside) take(max int, f func(record []byte)) (taken int) {
	begin := 0
	for _, end := range a.ends[:min(max, len(a.ends))] {
		f(a.records[begin:end:end])
		begin = end
		taken++
	}
	if taken == len(a.ends) {
		*a = aside{record: a.record} // it may have been much
		return taken
	}
	a.ends = slices.Delete(a.ends, 0, taken)
	for i := range a.ends {
		a.ends[i] -= begin
	}
	a.records = slices.Delete(a.records, 0, begin)
	return taken
}
