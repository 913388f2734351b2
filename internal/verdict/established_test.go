package verdict

import (
	"testing"

	"sockleak/internal/event"
)

func TestHalfClosed(t *testing.T) {
	shut := func(w *world, waited bool) *sock {
		s := w.connect(w.socket(7), server)
		s.facts.Waiters = waited
		w.state(s, event.StateFinWait2, 0)
		return s
	}
	runScenarios(t, map[string]scenario{
		"nobody waits":            {func(w *world) { shut(w, false); w.watch(8 * second) }, []string{"1 half-closed, medium, at_7"}},
		"nobody waits, too young": {do: func(w *world) { shut(w, false); w.watch(4 * second) }},
		"waits for ever":          {func(w *world) { shut(w, true); w.watch(104 * second) }, []string{"1 half-closed, medium, at_7"}},
		"waits for the answer":    {do: func(w *world) { shut(w, true); w.watch(98 * second) }},
		"the answer is long":      {do: func(w *world) { s := shut(w, true); w.watch(240*second, func(int) { w.receive(s, 9) }) }},
		"the answer, and then not": {func(w *world) {
			s := shut(w, true)
			w.watch(60*second, func(int) { w.receive(s, 9) })
			w.watch(104 * second)
		}, []string{"1 half-closed, medium, at_7"}},
		"busy with what came so far": {do: func(w *world) {
			s := shut(w, false)
			w.receive(s, 65000)
			s.facts.Known, s.facts.RecvQ = s.facts.Known|event.KnownBytes, 64000
			w.watch(90 * second)
			s.facts.RecvQ = 32000
			w.watch(90 * second)
		}},
		"the answer is never read": {func(w *world) {
			s := shut(w, false)
			w.receive(s, 65000)
			s.facts.RecvQ = 65000
			w.watch(104 * second)
		}, []string{"1 half-closed, medium, at_7"}},
		"the peer finishes": {do: func(w *world) {
			s := shut(w, true)
			w.watch(20 * second)
			w.close(s)
			w.watch(104 * second)
		}},
		"descriptor closed": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.close(s)
			w.state(s, event.StateFinWait2, 0)
			w.watch(20 * second)
		}},
	})
}

func TestHalfOpen(t *testing.T) {
	runScenarios(t, map[string]scenario{
		"unacknowledged for long": {func(w *world) { w.unanswered(w.connect(w.socket(7), server), 10); w.watch(4 * second) }, []string{"1 half-open, medium, at_7"}},
		"an outage of a minute": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.watch(60*second, func(i int) { w.unanswered(s, min(uint8(i), 7)) })
			s.facts.Retransmits, s.facts.Unacked, s.queued = 0, 0, 0
			w.watch(120 * second)
		}},
		"a slow path that gets something through": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.watch(240*second, func(int) { w.unanswered(s, 4) }) // more was acknowledged at each look
		}},
		"watched for long enough": {func(w *world) {
			w.unanswered(w.connect(w.socket(7), server), 4)
			w.watch(104 * second)
		}, []string{"1 half-open, medium, at_7"}},
		"probes": {func(w *world) {
			s := w.connect(w.socket(7), server)
			s.facts.Known |= event.KnownDelivery
			s.facts.Probes = 2
			w.watch(104 * second)
		}, []string{"1 half-open, medium, at_7"}},
		"probes are answered": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			s.facts.Known |= event.KnownDelivery
			w.watch(240*second, func(i int) { s.facts.Probes = uint8(i % 2) })
		}},
		"our fin too": {func(w *world) {
			s := w.connect(w.socket(7), server)
			w.unanswered(s, 10)
			w.state(s, event.StateFinWait1, 0)
			w.watch(4 * second)
		}, []string{"1 half-open, medium, at_7"}},
		"whether it is isn't known": {do: func(w *world) {
			s := w.connect(w.socket(7), server)
			w.unanswered(s, 10)
			s.facts.Known &^= event.KnownDelivery
			w.watch(104 * second)
		}},
	})
}

func TestUnread(t *testing.T) {
	full := func(w *world) *sock {
		s := w.connect(w.socket(7), server)
		w.receive(s, 5000)
		s.facts.RecvQ = 4000
		return s
	}
	runScenarios(t, map[string]scenario{
		"nobody reads":          {func(w *world) { full(w); w.watch(104 * second) }, []string{"1 abandoned, medium, at_7"}},
		"in epoll, as in Node":  {func(w *world) { full(w).facts.Waiters = true; w.watch(104 * second) }, []string{"1 abandoned, medium, at_7"}},
		"too young":             {do: func(w *world) { full(w); w.watch(98 * second) }},
		"paused for a while":    {do: func(w *world) { s := full(w); w.watch(60 * second); s.facts.RecvQ = 0; w.watch(120 * second) }},
		"paused, and again":     {do: func(w *world) { s := full(w); w.watch(90 * second); s.facts.RecvQ = 2000; w.watch(90 * second) }},
		"reads slowly":          {do: func(w *world) { s := full(w); w.watch(360*second, func(int) { s.facts.RecvQ -= 10 }) }},
		"sends, and reads late": {do: func(w *world) { s := full(w); w.watch(360*second, func(int) { w.send(s) }) }},
		"only writes": {do: func(w *world) {
			s := full(w)
			w.watch(20*second, func(int) { w.send(s) })
			w.watch(240 * second)
		}},
		"everything is read": {do: func(w *world) { full(w).facts.RecvQ = 0; w.watch(360 * second) }},
		"from before": {func(w *world) {
			for range 2 {
				s := w.beforeAt(event.StateEstablished, server)
				s.facts.BytesIn, s.facts.RecvQ = 5000, 4000
			}
			w.watch(4 * second)
		}, []string{"2 abandoned, medium, no origin"}},
		"and younger ones of the same origin": {func(w *world) {
			w.watch(120*second, func(int) { full(w) })
		}, []string{"58 abandoned, high, at_7"}},
		"and others of the same origin that were read": {func(w *world) {
			w.watch(120*second, func(i int) {
				if s := full(w); i%2 == 0 {
					s.facts.RecvQ = 0
				}
			})
		}, []string{"60 abandoned, high, at_7"}},
	})
}

func TestUnixPeerGone(t *testing.T) {
	gone := func(w *world, kind event.Kind) *sock {
		s := w.create(kind, app, 7, unixStream())
		s.sock.State, s.facts.Begun, s.facts.WasEstablished = event.StateEstablished, true, true
		s.facts.Known |= event.KnownPeer
		s.facts.PeerGone = true
		return s
	}
	runScenarios(t, map[string]scenario{
		"connected":       {func(w *world) { gone(w, event.Socket); w.watch(8 * second) }, []string{"1 peer-closed, medium, at_7"}},
		"accepted":        {func(w *world) { gone(w, event.Accept); w.watch(8 * second) }, []string{"1 peer-closed, medium, at_7"}},
		"half of a pair":  {do: func(w *world) { gone(w, event.Pair); w.watch(60 * second) }},
		"peer is there":   {do: func(w *world) { gone(w, event.Socket).facts.PeerGone = false; w.watch(60 * second) }},
		"closed in time":  {do: func(w *world) { s := gone(w, event.Socket); w.watch(4 * second); w.close(s); w.watch(8 * second) }},
		"not known of it": {do: func(w *world) { gone(w, event.Socket).facts.Known &^= event.KnownPeer; w.watch(60 * second) }},
	})
}
