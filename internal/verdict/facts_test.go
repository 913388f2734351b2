package verdict

import (
	"reflect"
	"testing"

	"sockleak/internal/event"
)

// What the kernel could tell is in the report, and nothing else.
func TestFacts(t *testing.T) {
	for _, test := range []struct {
		name  string
		facts event.Facts
		want  Socket
	}{
		{"next to nothing known", event.Facts{Unacked: 1, Retransmits: 2, Probes: 3, PeerGone: true, RecvQ: 4}, Socket{
			RcvShutdown: pointer(false), SndShutdown: pointer(false),
		}},
		{"tcp", event.Facts{
			Known: event.KnownQueues | event.KnownActivity | event.KnownBytes | event.KnownKeepAlive |
				event.KnownDescriptor | event.KnownWaiters | event.KnownDelivery,
			NetNS: 1, RecvQ: 2, SendQ: 3, Unacked: 4, Retransmits: 5, Probes: 6, LastRx: 7e9, LastTx: 8e9,
			BytesIn: 9, BytesOut: 10, KeepAlive: true, CloseOnExec: true, Waiters: true, RcvShutdown: true,
		}, Socket{
			NetNS: pointer(uint32(1)), RecvQ: pointer(uint32(2)), SendQ: pointer(uint32(3)), Unacked: pointer(uint32(4)),
			Retransmits: pointer(uint8(5)), Probes: pointer(uint8(6)), LastRx: pointer(7.0), LastTx: pointer(8.0),
			BytesIn: pointer(uint64(9)), BytesOut: pointer(uint64(10)), KeepAlive: pointer(true),
			CloseOnExec: pointer(true), WaitedOn: pointer(true), RcvShutdown: pointer(true), SndShutdown: pointer(false),
		}},
		{"unix", event.Facts{Known: event.KnownPeer, Names: &event.UnixNames{Local: "/run/a", Remote: "@b"}, PeerGone: true, SndShutdown: true}, Socket{
			Local: pointer("/run/a"), Remote: pointer("@b"), PeerGone: pointer(true),
			RcvShutdown: pointer(false), SndShutdown: pointer(true),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got Socket
			if facts(&got, &test.facts); !reflect.DeepEqual(got, test.want) {
				t.Errorf("\n got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// What an AF_UNIX socket is connected to is a peer as any other, and its name
// tells that the socket isn't half of a pair.
func TestUnixPeers(t *testing.T) {
	w := newWorld(t)
	gone := func(s *sock, peer string) {
		s.sock.State, s.facts.Begun, s.facts.WasEstablished = event.StateEstablished, true, true
		s.facts.Known |= event.KnownPeer
		s.facts.PeerGone, s.facts.Names = true, &event.UnixNames{Remote: peer}
	}
	gone(w.before(unixStream()), "")
	gone(w.before(unixStream()), "/run/daemon")
	for range 3 {
		gone(w.create(event.Socket, app, 7, unixStream()), "/run/daemon")
	}
	w.watch(12 * second)
	findings := w.findings()
	if len(findings) != 1 {
		t.Fatalf("got %d findings, want 1", len(findings))
	}
	if got, want := findings[0].Peers, []Peer{{Address: "/run/daemon", Count: 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
