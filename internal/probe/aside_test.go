package probe

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/workload"
)

// While something else is done, a ring far too small for what comes loses nothing,
// and the events come in their order after that.
func TestAside(t *testing.T) {
	needs.Root(t)
	const made = 20_000
	p := workload.Start(t, workload.Build(t, "rates"))
	p.Ready()
	tracer, err := Open(Config{Scope: Scope{PIDs: []uint32{uint32(p.PID)}}, RingSize: 1 << 20, MaxSockets: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	stop := errors.New("stop")
	err = tracer.Aside(func() error {
		for range 40 {
			p.Do("hot 500")
			time.Sleep(2 * asideFlush)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
	var times []uint64
	kept := tracer.Kept()
	for range 2 { // the first doesn't take all
		err = tracer.Read(time.Now().Add(100*time.Millisecond), made*3/2, func(record []byte) {
			var ev event.Event
			var raw stack.Raw
			if _, err := Decode(record, &ev, &raw); err != nil {
				t.Fatalf("decode % x: %v", record, err)
			}
			if ev.Kind == event.Socket {
				times = append(times, ev.Time)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	loss, err := tracer.Loss()
	if err != nil {
		t.Fatal(err)
	}
	if kept < made || tracer.Kept() != 0 {
		t.Errorf("%d records were kept, and %d are left", kept, tracer.Kept())
	}
	if len(times) != made || !slices.IsSorted(times) || loss.RingFull != 0 {
		t.Errorf("%d sockets, in order: %v; want %d; %+v", len(times), slices.IsSorted(times), made, loss)
	}
}

// What was kept is given out in parts as it is wanted.
func TestAsideTake(t *testing.T) {
	var a aside
	var want []string
	for _, record := range []string{"a", "", "bcd", "ef", "g"} {
		a.records = append(a.records, record...)
		a.ends = append(a.ends, len(a.records))
		want = append(want, record)
	}
	var got []string
	keep := func(record []byte) { got = append(got, string(record)) }
	counts := []int{a.take(3, keep), a.take(1, keep), a.take(math.MaxInt, keep), a.take(1, keep)}
	if !slices.Equal(got, want) || !slices.Equal(counts, []int{3, 1, 1, 0}) || a.records != nil {
		t.Errorf("got %q by %v, %d bytes are left", got, counts, len(a.records))
	}
}
