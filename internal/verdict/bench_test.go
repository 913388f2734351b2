package verdict

import (
	"fmt"
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
