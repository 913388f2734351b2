package report

import (
	"strings"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// counts is a series with a look every interval seconds.
func counts(interval float64, all ...int) []verdict.Sample {
	samples := []verdict.Sample{}
	for i, n := range all {
		samples = append(samples, verdict.Sample{At: interval * float64(i+1), Count: n})
	}
	return samples
}

// sawtooth is as long as a series can be, of sockets that a garbage collector
// closes now and then.
func sawtooth() []verdict.Sample {
	var all []int
	for i := range 128 {
		all = append(all, 60+i+i%32*2)
	}
	return counts(28, all...)
}

// gateway keeps the connections of devices that reconnected, and of some that are
// gone.
func gateway() *verdict.Report {
	r := base()
	r.Verdict, r.Duration = verdict.Leak, 180
	r.Reasons = []string{"14 sockets left open, from 2 origins"}
	r.Totals = verdict.Totals{Opened: 40, Closed: 9, Live: 52, Preexisting: 21}
	p := verdict.Process{PID: 4242, Comm: "python3", Exe: ptr("/usr/bin/python3.11"), Container: strings.Repeat("0123456789abcdef", 4)}
	accepted := func(line int) verdict.Origin {
		return verdict.Origin{Quality: stack.Complete, Culprit: ptr(1), Frames: []stack.Frame{
			{Function: "socket.accept", File: "/usr/lib/python3.11/socket.py", Line: 293, Kind: stack.Python},
			{Function: "Gateway.serve", File: "/srv/gateway/gateway.py", Line: line, Kind: stack.Python},
		}}
	}
	superseded := verdict.Finding{
		Class: verdict.Superseded, Confidence: verdict.High, Process: p, Count: 11, YoungestAge: ptr(95.0), GrowthPerMin: ptr(3.5),
		Series: counts(15, 0, 1, 2, 3, 3, 5, 6, 7, 9, 10, 10, 11), Origin: accepted(61),
		States: map[string]int{"ESTAB": 11},
		Peers: []verdict.Peer{
			{Address: "10.9.0.17:50112", Name: "meter-17.plant.example", Count: 1}, {Address: "10.9.0.17:50140", Name: "meter-17.plant.example", Count: 1},
			{Address: "10.9.0.17:50188", Name: "meter-17.plant.example", Count: 1}, {Address: "10.9.0.18:41002", Count: 1},
			{Address: "10.9.0.18:41013", Count: 1}, {Address: "10.9.0.18:41020", Count: 1}, {Address: "10.9.0.18:41021", Count: 1},
			{Address: "10.9.0.19:39000", Count: 1}, {Address: "10.9.0.19:39001", Count: 1}, {Address: "10.9.0.20:39000", Count: 1},
			{Address: "10.9.0.21:50000", Count: 1},
		},
		Evidence: []string{
			"5 peers have 2 to 4 connections each to port 9100, of which one alone moves data",
			"all 11 moved no data for 1 min 1 s or more, and fell silent before the active one of their peer began",
		},
		Advice: "when a peer comes back, close the connection it had",
	}
	halfOpen := verdict.Finding{
		Class: verdict.HalfOpen, Confidence: verdict.High, Process: p, Count: 3, OldestAge: ptr(170.0), YoungestAge: ptr(110.0),
		Series: counts(60, 3, 3, 3), GrowthPerMin: ptr(0.0), Origin: accepted(61),
		States:   map[string]int{"ESTAB": 3},
		Peers:    []verdict.Peer{{Address: "10.9.0.33:40001", Count: 3}},
		Evidence: []string{"data was sent 6 to 9 times and is not acknowledged", "nothing was received for 1 min 40 s or more"},
		Advice:   "turn on keepalive, or send heartbeats with a time limit, and close when it passes",
	}
	for i := range 3 {
		halfOpen.Sockets = append(halfOpen.Sockets, verdict.Socket{
			Inode: 800 + uint64(i), Family: "inet", Type: "stream", Protocol: "tcp", State: "ESTAB",
			SendQ: ptr(uint32(900)), Unacked: ptr(uint32(100 * i)),
			Holders: []verdict.Holder{{PID: 4242, FD: int32(30 + i), Comm: "python3"}},
		})
	}
	r.Findings = []verdict.Finding{superseded, halfOpen}
	return r
}

// checker asks one address for a status and doesn't read the answer.
func checker() *verdict.Report {
	r := base()
	r.Verdict, r.Duration = verdict.Leak, 90.4
	r.Reasons = []string{"42 sockets left open, from 1 origin"}
	r.Totals = verdict.Totals{Opened: 58, Closed: 16, Live: 47, Preexisting: 5}
	f := verdict.Finding{
		Class: verdict.Abandoned, Confidence: verdict.High, Count: 42, OldestAge: ptr(88.0), YoungestAge: ptr(2.1), GrowthPerMin: ptr(28.0),
		Process: verdict.Process{PID: 4242, Comm: "node", Exe: ptr("/usr/bin/node")},
		Series:  counts(6, 3, 6, 9, 12, 14, 17, 20, 23, 26, 28, 31, 34, 37, 40, 42),
		Origin: verdict.Origin{Quality: stack.Complete, Culprit: ptr(2), Frames: []stack.Frame{
			native("socket", libc, "", 0, 0x10ebd0),
			{Function: "connect", File: "node:net", Line: 1293, Kind: stack.Node},
			{Function: "checkStatus", File: "/srv/checker/check.js", Line: 41, Kind: stack.Node},
			{Function: "listOnTimeout", File: "node:internal/timers", Line: 581, Kind: stack.Node},
		}},
		States: map[string]int{"ESTAB": 42},
		Peers:  []verdict.Peer{{Address: "192.0.2.7:443", Name: "status.example", Count: 42}},
		Evidence: []string{
			"all 42: Recv-Q stands still: data has come that the program doesn't read",
			"30 of 42 moved no data for 1 min or more",
		},
		Advice: "read the response to its end, or destroy the connection, on every path",
	}
	for i := range 42 {
		f.Sockets = append(f.Sockets, verdict.Socket{
			Inode: 900 + uint64(i), Family: "inet", Type: "stream", Protocol: "tcp", State: "ESTAB",
			Remote: ptr("192.0.2.7:443"), RecvQ: ptr(uint32(65536)), SendQ: ptr(uint32(0)), Unacked: ptr(uint32(0)), Age: ptr(float64(2 + 2*i)),
			Holders: []verdict.Holder{{PID: 4242, FD: int32(20 + i), Comm: "node"}},
		})
	}
	r.Findings = []verdict.Finding{f}
	return r
}
