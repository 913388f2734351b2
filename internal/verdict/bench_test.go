package verdict

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"sockleak/internal/event"
)

// benchPeer is the n-th of many peers.
func benchPeer(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 443)
}

// BenchmarkFindings is what a report costs of sockets from before tracing began,
// each in CLOSE-WAIT and to its own peer, and one of an origin: twice as many may
// take no more for each.
func BenchmarkFindings(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			for i := range n {
				w.beforeAt(event.StateCloseWait, benchPeer(i))
			}
			w.look()
			w.fin(w.connect(w.socket(7), server), 1)
			w.watch(8 * second)
			b.ReportAllocs()
			for b.Loop() {
				if got := len(w.findings()); got != n+1 {
					b.Fatalf("%d findings, want %d", got, n+1)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/socket")
		})
	}
}

// BenchmarkForget is what a look costs after n processes have ended, each with
// two sockets that were left behind.
func BenchmarkForget(b *testing.B) {
	for _, n := range []int{500, 1000, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			for pid := range uint32(n) {
				for range 2 {
					w.create(event.Socket, pid+2, 7, tcp())
				}
				w.sleep(second)
				w.exit(pid + 2)
			}
			if got := len(w.judge.ended); got != 2*n {
				b.Fatalf("%d sockets are remembered, want %d", got, 2*n)
			}
			b.ReportAllocs()
			for b.Loop() {
				w.look()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/process")
		})
	}
}

// helperOf makes a process with n sockets in use and a helper that it forked, which
// has them too unless it closed them.
func helperOf(t testing.TB, n int, closes bool) *world {
	w := newWorld(t)
	for range n {
		w.connect(w.socket(7), server)
	}
	w.fork(app, 2)
	if closes {
		w.apply(event.Event{Kind: event.CloseRange, PID: 2, Begin: w.now, FD2: math.MaxInt32, Table2: 20})
	}
	return w
}

// BenchmarkEnd is what the exit of such a helper costs.
func BenchmarkEnd(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		for name, closes := range map[string]bool{"inherited": false, "closed": true} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				w := helperOf(b, n, closes)
				b.ReportAllocs()
				for b.Loop() {
					w.judge.End(w.now, process(2), w.table)
				}
			})
		}
	}
}

// The exit of a helper costs what it has itself, not what the program has: many a
// server runs helpers all the time.
func TestEndOfHelper(t *testing.T) {
	for name, closes := range map[string]bool{"inherited": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			w := helperOf(t, 1000, closes)
			own := 0
			for range w.table.OwnSockets(process(2)) {
				own++
			}
			if n := testing.AllocsPerRun(10, func() { w.judge.End(w.now, process(2), w.table) }); own != 0 || n > 10 {
				t.Errorf("%d sockets of its own, %v allocations; want none and next to none", own, n)
			}
		})
	}
}
