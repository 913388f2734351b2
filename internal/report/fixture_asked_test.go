package report

import (
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// relay is a Node program whose sockets are made by the event loop: the line that
// asked for them, or for their listener, is elsewhere.
func relay() *verdict.Report {
	r := base()
	r.Verdict = verdict.Leak
	r.Reasons = []string{"9 sockets left open, from 2 origins"}
	r.Totals = verdict.Totals{Opened: 60, Closed: 48, Live: 12}
	p := verdict.Process{PID: 4242, Comm: "node", Exe: ptr("/usr/bin/node")}
	loop := []stack.Frame{
		native("socket", libc, "", 0, 0x10ebd0),
		native("uv__tcp_connect", "/usr/lib/x86_64-linux-gnu/libuv.so.1", "", 0, 0x1f020),
		{Function: "internalConnect", File: "node:net", Line: 1084, Kind: stack.Node},
		{Function: "afterConnectMultiple", File: "node:net", Line: 1695, Kind: stack.Node},
	}
	asked := verdict.Finding{
		Class: verdict.PeerClosed, Confidence: verdict.High, Process: p, Count: 6, OldestAge: ptr(28.0), YoungestAge: ptr(3.0),
		Series: counts(5, 1, 2, 3, 4, 5, 6), GrowthPerMin: ptr(12.0),
		Origin: verdict.Origin{Quality: stack.Complete, Frames: loop},
		RequestedAt: &verdict.Requested{
			Via: verdict.ViaLibuv, Quality: stack.Complete, Inferred: true, Culprit: ptr(1), Frames: []stack.Frame{
				{Function: "connect", File: "node:net", Line: 238, Kind: stack.Node},
				{Function: "Upstream.open", File: "/srv/relay/upstream.js", Line: 31, Kind: stack.Node},
				{Function: "handle", File: "/srv/relay/relay.js", Line: 12, Kind: stack.Node},
			},
		},
		States:   map[string]int{"CLOSE-WAIT": 6},
		Peers:    []verdict.Peer{{Address: "192.0.2.7:443", Name: "upstream.example", Count: 6}},
		Evidence: []string{"Recv-Q is 1: only the FIN is unread, the program never looked again"},
		Advice:   "close when a read returns 0",
	}
	accepted := verdict.Finding{
		Class: verdict.Dead, Confidence: verdict.High, Process: p, Count: 3, OldestAge: ptr(20.0), YoungestAge: ptr(9.0),
		Origin: verdict.Origin{Quality: stack.Complete, Culprit: ptr(1), Frames: []stack.Frame{
			native("accept4", libc, "", 0, 0x10ec40),
			{Function: "Relay.onconnection", File: "/srv/relay/relay.js", Line: 8, Kind: stack.Node},
		}},
		AcceptedFrom: &verdict.Accepted{
			Address: ptr("0.0.0.0:1965"), Via: ptr(verdict.ViaLibuv), Quality: stack.Complete, Culprit: ptr(0), Frames: []stack.Frame{
				{Function: "Relay.listen", File: "/srv/relay/relay.js", Line: 44, Kind: stack.Node},
			},
		},
		States:   map[string]int{"CLOSE": 3},
		Peers:    []verdict.Peer{{Address: "198.51.100.4:50112", Count: 2}, {Address: "198.51.100.9:41002", Count: 1}},
		Evidence: []string{"reset by the peer (ECONNRESET), and still open"},
		Advice:   "close the descriptor when a call on it fails",
	}
	r.Findings = []verdict.Finding{asked, accepted}
	return r
}
