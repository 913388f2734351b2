package kerneltest

import (
	"encoding/json"
	"net/netip"
	"testing"

	"sockleak/internal/verdict"
)

// checkEvidence compares what the report says of each leaked socket with what is
// so: every field, and null where there is nothing to be known.
func checkEvidence(t *testing.T, r *verdict.Report) {
	t.Helper()
	for _, f := range r.Findings {
		function := leaking(&f)
		if function == "none" {
			continue // another program's
		}
		want := evidence()[function]
		if len(f.Evidence) == 0 {
			t.Errorf("%s: no evidence in words", function)
		}
		for _, s := range f.Sockets {
			if got := text(t, steady(s)); got != text(t, want) {
				t.Errorf("%s:\n got %s\nwant %s", function, got, text(t, want))
			}
		}
	}
}

func text(t *testing.T, s verdict.Socket) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// steady is a socket without what differs from run to run: of an address the host
// is kept, of counters and times whether they are as high as the rule wants them.
func steady(s verdict.Socket) verdict.Socket {
	s.Inode, s.NetNS, s.Age, s.Holders = 0, nil, nil, nil
	s.Local, s.Remote = host(s.Local), host(s.Remote)
	s.Retransmits, s.Probes = atMost(s.Retransmits, 3), atMost(s.Probes, 2)
	if s.State == "SYN-SENT" {
		s.Retransmits = atMost(s.Retransmits, 0) // of the SYN
	}
	s.LastRx, s.LastTx = quiet(s.LastRx), quiet(s.LastTx)
	if s.Unacked != nil && *s.Unacked > 0 && s.LastTx != nil {
		s.LastTx = ptr(1.0) // it is being sent again
	}
	return s
}

func host(address *string) *string {
	if address == nil {
		return nil
	}
	a, err := netip.ParseAddrPort(*address)
	if err != nil {
		return ptr("a name")
	}
	return ptr(netip.PrefixFrom(a.Addr(), 16).Masked().String())
}

func atMost(n *uint8, most uint8) *uint8 {
	if n == nil {
		return nil
	}
	return ptr(min(*n, most))
}

// quiet is 1 for what lasted for the grace time or more, 0 for less.
func quiet(seconds *float64) *float64 {
	if seconds == nil {
		return nil
	}
	if *seconds >= 0.3 { // quick
		return ptr(1.0)
	}
	return ptr(0.0)
}

func ptr[T any](v T) *T { return &v }

// evidence is what each function of leak_classes leaves.
func evidence() map[string]verdict.Socket {
	const closed, established, halfClosed = "CLOSE", "ESTAB", "FIN-WAIT-2"
	return map[string]verdict.Socket{
		"leak_here_never":   socket(tcp, closed, ended),
		"leak_here_refused": socket(tcp, closed, ended, func(s *verdict.Socket) { s.Remote = ptr(loopback) }),
		"leak_here_pending": socket(tcp, "SYN-SENT", between, func(s *verdict.Socket) { s.SendQ = ptr[uint32](1) }),
		"leak_here_closewait": socket(tcp, "CLOSE-WAIT", between, carried(0, 0), func(s *verdict.Socket) {
			s.RecvQ, s.RcvShutdown = ptr[uint32](1), ptr(true) // the FIN
		}),
		"leak_here_reset": socket(tcp, closed, between, carried(0, 0), ended, func(s *verdict.Socket) {
			s.RcvShutdown, s.SndShutdown = ptr(true), ptr(true)
		}),
		// The kernel has forgotten what it counted.
		"leak_here_disconnected": socket(tcp, closed, between, ended),
		"leak_here_inherited": socket(tcp, "CLOSE-WAIT", between, carried(0, 0), func(s *verdict.Socket) {
			s.RecvQ, s.RcvShutdown, s.CloseOnExec = ptr[uint32](1), ptr(true), ptr(false)
		}),
		"leak_here_halfclosed": socket(tcp, halfClosed, between, carried(0, 0), func(s *verdict.Socket) { s.SndShutdown = ptr(true) }),
		"leak_here_halfopen": socket(tcp, established, between, carried(0, 6), func(s *verdict.Socket) {
			s.SendQ, s.Unacked, s.Retransmits = ptr[uint32](6), ptr[uint32](6), ptr[uint8](3)
		}),
		"leak_here_unanswered": socket(tcp, established, between, carried(0, 0), func(s *verdict.Socket) {
			s.KeepAlive, s.Probes = ptr(true), ptr[uint8](2)
		}),
		"leak_here_unread":     socket(tcp, established, between, carried(7, 7), func(s *verdict.Socket) { s.RecvQ = ptr[uint32](7) }),
		"leak_here_superseded": socket(tcp, established, between, carried(8, 8), func(s *verdict.Socket) { s.Remote = ptr(devices) }),
		"leak_here_kept":       socket(tcp, established, between, carried(16, 16)),
		"leak_here_growing":    socket(udp, "UNCONN", ended),
		"leak_here_peergone": socket(local, established, func(s *verdict.Socket) {
			s.Remote, s.PeerGone, s.RcvShutdown, s.SndShutdown = ptr("a name"), ptr(true), ptr(true), ptr(true)
		}),
	}
}

// What peers.h connects, without the last two bytes of the address.
const loopback, devices = "127.0.0.0/16", "127.1.0.0/16"

// socket is one of which nothing is known but what the changes say, and that
// nothing waits on it.
func socket(kind func(*verdict.Socket), state string, changes ...func(*verdict.Socket)) verdict.Socket {
	s := verdict.Socket{State: state, RcvShutdown: ptr(false), SndShutdown: ptr(false), CloseOnExec: ptr(true), WaitedOn: ptr(false)}
	kind(&s)
	for _, change := range changes {
		change(&s)
	}
	return s
}

// tcp, udp and local are kinds of sockets: the kernel keeps no queues of bytes for
// AF_UNIX, and nothing is acknowledged but for TCP.
func tcp(s *verdict.Socket) {
	udp(s)
	s.Type, s.Protocol = "stream", "tcp"
	s.Unacked, s.Retransmits, s.Probes = ptr[uint32](0), ptr[uint8](0), ptr[uint8](0)
}

func udp(s *verdict.Socket) {
	s.Family, s.Type, s.Protocol = "inet", "dgram", "udp"
	s.RecvQ, s.SendQ, s.KeepAlive = ptr[uint32](0), ptr[uint32](0), ptr(false)
}

func local(s *verdict.Socket) { s.Family, s.Type = "unix", "stream" }

// between has both ends on loopback.
func between(s *verdict.Socket) { s.Local, s.Remote = ptr(loopback), ptr(loopback) }

// carried was established, and carried so many bytes; it is silent now.
func carried(in, out uint64) func(*verdict.Socket) {
	return func(s *verdict.Socket) {
		s.BytesIn, s.BytesOut, s.LastRx, s.LastTx = ptr(in), ptr(out), ptr(1.0), ptr(1.0)
	}
}

// ended has nothing under way: no connection, or none any more.
func ended(s *verdict.Socket) { s.Unacked, s.Retransmits, s.Probes = nil, nil, nil }
