package verdict

import (
	"net/netip"
	"testing"
	"time"

	"sockleak/internal/event"
)

// from is an address of a client: a host, and a port for each connection.
func from(host, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(host)}), uint16(port))
}

func TestSuperseded(t *testing.T) {
	// gateway has devices that talk every 4 s, and each reconnects every 20 s, up
	// to a time.
	gateway := func(devices, until, watch int, closes bool) func(w *world) {
		return func(w *world) {
			newest := make([]*sock, devices)
			port := 1000
			for at := 0; at < watch; at += 2 {
				for d := range newest {
					if at < until && at%20 == 0 {
						if closes && newest[d] != nil {
							w.close(newest[d])
						}
						port++
						newest[d] = w.accept(7, from(d+1, port))
						newest[d].facts.Waiters = true
					}
					if at%4 == 0 {
						w.receive(newest[d], 10)
					}
				}
				w.watch(2 * second)
			}
		}
	}
	// before has those connections there already.
	before := func(hosts, each int, busy func(i int) bool) func(w *world) {
		return func(w *world) {
			for h := range hosts {
				for i := range each {
					s := w.beforeAt(event.StateEstablished, from(h+1, 1000+i))
					s.sock.Local = netip.AddrPortFrom(local.Addr(), 80)
					s.rx -= uint64(each-i) * uint64(30*second)
					s.tx = s.rx
				}
			}
			w.listen(w.before(tcp()))
			w.watch(20*second, func(int) {
				for i, s := range w.socks {
					if s.sock.State == event.StateEstablished && busy(i%each) {
						w.receive(s, 10)
					}
				}
			})
		}
	}
	newest := func(i int) bool { return i == 2 }
	runScenarios(t, map[string]scenario{
		"devices reconnect":          {gateway(3, 60, 180, false), []string{"6 superseded, high, at_7"}},
		"devices go on reconnecting": {gateway(3, 300, 160, false), []string{"9 superseded, high, at_7"}},
		"one device, often":          {gateway(1, 80, 200, false), []string{"3 superseded, high, at_7"}},
		"one device, twice":          {do: gateway(1, 40, 200, false)},
		"the old one is closed":      {do: gateway(3, 60, 180, true)},
		// Some of a pool, which one takes the last of, look no different.
		"there already": {do: before(2, 3, newest)},
		"there already, and it goes on": {func(w *world) {
			before(2, 3, newest)(w)
			for round := range 2 {
				for h := range 2 {
					w.accept(7, from(h+1, 2000+round))
				}
				w.watch(10*second, func(int) {
					for _, s := range w.socks[len(w.socks)-2:] {
						w.receive(s, 10)
					}
				})
			}
			w.watch(DefaultIdle, func(int) {
				for _, s := range w.socks[len(w.socks)-2:] {
					w.receive(s, 10)
				}
			})
		}, []string{"8 superseded, high, inferred at_7"}},
		"all idle, as WebSockets":    {do: before(4, 3, func(int) bool { return false })},
		"several of each in use":     {do: before(4, 4, func(i int) bool { return i >= 2 })},
		"clients behind one address": {do: before(1, 3, newest)},
		"a pool that was needed at once": {do: func(w *world) {
			var pool []*sock
			for i := range 8 {
				pool = append(pool, w.accept(7, from(1, 1000+i)), w.accept(7, from(2, 1000+i)))
			}
			w.sleep(second)
			w.sleep(second)
			for _, s := range pool {
				w.receive(s, 10)
			}
			w.watch(240*second, func(int) { w.receive(pool[14], 10); w.receive(pool[15], 10) })
		}},
		"pools that were filled at once, and one of each is enough": {do: func(w *world) {
			for i := range 4 {
				w.accept(7, from(1, 1000+i))
				w.accept(7, from(2, 1000+i))
				w.sleep(200 * time.Millisecond)
			}
			w.watch(240*second, func(int) { w.receive(w.socks[6], 10); w.receive(w.socks[7], 10) })
		}},
		"idle WebSockets behind two addresses, and others beside them": {do: func(w *world) {
			w.accept(7, from(1, 1))
			w.accept(7, from(2, 1))
			w.watch(20*second, func(int) { w.receive(w.socks[0], 10); w.receive(w.socks[1], 10) })
			w.watch(60 * second)
			w.accept(7, from(1, 2))
			w.accept(7, from(2, 2))
			w.watch(200*second, func(int) { w.receive(w.socks[2], 10); w.receive(w.socks[3], 10) })
		}},
		"behind many addresses, one after a long time": {do: func(w *world) {
			for h := range 5 {
				w.accept(7, from(h+1, 1))
			}
			w.watch(20*second, func(int) {
				for _, s := range w.socks {
					w.receive(s, 10)
				}
			})
			w.watch(150 * second)
			for h := range 5 {
				w.accept(7, from(h+1, 2))
			}
			w.watch(200*second, func(int) {
				for _, s := range w.socks[5:] {
					w.receive(s, 10)
				}
			})
		}},
		"two of each, then two others": {do: func(w *world) {
			many := func(w *world) {
				for h := range 6 {
					w.accept(7, from(h+1, 1))
					w.accept(7, from(h+1, 2))
				}
			}
			many(w)
			w.watch(20 * second)
			for _, s := range w.socks {
				w.receive(s, 10)
			}
			w.watch(20 * second)
			many(w)
			w.watch(240*second, func(int) {
				for _, s := range w.socks[12:] {
					w.receive(s, 10)
				}
			})
		}},
	})
}
