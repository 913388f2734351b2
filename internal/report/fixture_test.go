package report

import (
	"time"

	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

func ptr[T any](v T) *T { return &v }

// fixtures are the reports whose text is kept in testdata.
func fixtures() map[string]*verdict.Report {
	return map[string]*verdict.Report{
		"crawler":      crawler(),
		"hunt":         hunt(),
		"clean":        healthy(),
		"winding":      winding(),
		"inconclusive": inconclusive(),
		"unknown":      unknown(),
		"gateway":      gateway(),
		"checker":      checker(),
		"relay":        relay(),
	}
}

func base() *verdict.Report {
	return &verdict.Report{
		Schema:   verdict.Schema,
		Started:  time.Date(2025, 3, 9, 3, 7, 12, 0, time.UTC),
		Duration: 30.2,
		Scope:    "pid 4242",
		Version:  "0.1.0",
		Kernel:   "6.12.22-amd64",
		MinAge:   5,
		Idle:     100,
	}
}

func native(function, module, file string, line int, address uint64) stack.Frame {
	return stack.Frame{Function: function, Module: module, File: file, Line: line, Address: address, Kind: stack.Native}
}

const (
	crawlerExe = "/opt/crawler/bin/crawler"
	libc       = "/usr/lib/x86_64-linux-gnu/libc.so.6"
)

// crawler leaks in three ways and is about to run out of descriptors.
func crawler() *verdict.Report {
	r := base()
	r.Verdict = verdict.Leak
	p := verdict.Process{PID: 4242, Comm: "crawler", Exe: ptr(crawlerExe), Start: ptr(r.Started.Add(-time.Hour))}
	r.Reasons = []string{"41 sockets that nothing will close, from 3 origins"}
	r.Totals = verdict.Totals{Opened: 12345, Closed: 12304, Live: 823, Preexisting: 782, Winding: 7, TimeWait: ptr(uint64(1204))}
	r.Limits = []verdict.Limit{{PID: 4242, Comm: "crawler", NoFile: 4096, Used: 823, GrowthPerMin: ptr(31.2), ExhaustedIn: ptr(6295.0)}}
	r.Findings = []verdict.Finding{connectFailed(p), peerClosed(p), neverUsed(p)}
	r.Loss.Reconciles = 3
	return r
}

func connectFailed(p verdict.Process) verdict.Finding {
	inlined := native("net::retry::with_backoff<net::Connector::start(net::Endpoint const&)::{lambda()#1}>(net::Connector::start(net::Endpoint const&)::{lambda()#1}&&, std::chrono::milliseconds)",
		crawlerExe, "/build/crawler-2.4.1/src/net/retry.h", 31, 0x2290)
	inlined.Inlined = true
	f := verdict.Finding{
		Class: verdict.ConnectFailed, Confidence: verdict.High, Process: p, Count: 20,
		OldestAge: ptr(27.5), YoungestAge: ptr(10.4), GrowthPerMin: ptr(31.2),
		Series: counts(2, 0, 2, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 18, 20),
		Origin: verdict.Origin{
			Quality: stack.Complete,
			Frames: []stack.Frame{
				native("__socket", libc, "", 0, 0x10ebd0),
				native("net::Connector::start(net::Endpoint const&)", crawlerExe, "/build/crawler-2.4.1/src/net/connector.cpp", 57, 0x2231),
				inlined,
				native("std::_Function_handler<void (std::vector<std::pair<std::string, int>, std::allocator<std::pair<std::string, int> > >&), Crawler::run()::{lambda(auto&)#1}>::_M_invoke(std::_Any_data const&, std::vector<std::pair<std::string, int> >&)",
					crawlerExe, "/usr/include/c++/12/bits/std_function.h", 290, 0x2410),
				native("Crawler::run()", crawlerExe, "/build/crawler-2.4.1/src/crawler.cpp", 102, 0x2544),
				native("std::execute_native_thread_routine(void*)", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30", "", 0, 0xd44a3),
				native("start_thread", libc, "", 0, 0x891f4),
				native("__clone3", libc, "", 0, 0x10989c),
			},
			Culprit: ptr(1),
		},
		States: map[string]int{"CLOSE": 20},
		Peers: []verdict.Peer{
			{Address: "93.184.216.34:443", Name: "mirror.example", Count: 12}, {Address: "[2606:2800:220:1:248:1893:25c8:1946]:443", Count: 5},
			{Address: "10.0.0.8:443", Count: 2}, {Address: "10.0.0.9:8443", Count: 1},
		},
		Evidence: []string{
			"connect failed on all 20: 14 timed out (ETIMEDOUT), 6 were refused (ECONNREFUSED)",
			"confirmed open by the kernel 0.4 s ago",
		},
		Advice: "close the descriptor on every path that leaves after connect has failed",
	}
	for i := range 20 {
		f.Sockets = append(f.Sockets, verdict.Socket{
			Inode: 90100 + uint64(i), Family: "inet", Type: "stream", Protocol: "tcp", State: "CLOSE",
			Local: ptr("0.0.0.0:0"), Remote: ptr("93.184.216.34:443"), Age: ptr(10.4 + float64(i)), RecvQ: ptr(uint32(0)), SendQ: ptr(uint32(0)),
			Holders: []verdict.Holder{{PID: 4242, FD: int32(7 + i + i/8), Comm: "crawler"}},
		})
	}
	return f
}

func peerClosed(p verdict.Process) verdict.Finding {
	f := verdict.Finding{
		Class: verdict.PeerClosed, Confidence: verdict.High, Process: p, Count: 18,
		YoungestAge: ptr(14.0), GrowthPerMin: ptr(0.4),
		Origin: verdict.Origin{
			Quality: stack.Partial, Reason: "walked by frame pointers, and libcurl.so.4 has none", Inferred: true,
			Frames: []stack.Frame{
				native("__socket", libc, "", 0, 0x10ebd0),
				native("", "/usr/lib/x86_64-linux-gnu/libcurl.so.4.8.0", "", 0, 0x3a1c2),
				native("Sitemap::fetch(std::basic_string_view<char, std::char_traits<char> >)", crawlerExe, "", 0, 0x3110),
			},
			Culprit: ptr(2),
		},
		States: map[string]int{"CLOSE-WAIT": 17, "CLOSE": 1},
		Peers:  []verdict.Peer{{Address: "10.1.2.3:80", Count: 18}},
		Evidence: []string{
			"11 of 17: Recv-Q is 0: the end of file was read, and still no close",
			"4 of 17: Recv-Q is 1: only the FIN is unread, the program never looked again",
			"17 of 18 were opened before tracing began and have no stack; the origin is that of later ones of the same class and peer",
		},
		Advice: "close when a read returns 0",
		LastUse: []verdict.LastUse{
			{Operation: "read", Result: "end of file", Count: 11, Origin: verdict.Origin{Quality: stack.Complete, Culprit: ptr(1), Frames: []stack.Frame{
				native("__libc_recv", libc, "", 0, 0x10ec10),
				native("Sitemap::on_readable(int)", crawlerExe, "/build/crawler-2.4.1/src/sitemap.cpp", 88, 0x3190),
			}}},
			{Operation: "shutdown", Result: "done", Count: 3, Origin: verdict.Origin{
				Quality: stack.Partial, Reason: "the walk came to code without unwind information", Inferred: true, Culprit: ptr(0),
				Frames: []stack.Frame{native("Sitemap::stop()", crawlerExe, "/build/crawler-2.4.1/src/sitemap.cpp", 120, 0x3210)},
			}},
			{Operation: "epoll_ctl DEL", Result: "done", Count: 2, Origin: verdict.Origin{Quality: stack.None}},
		},
	}
	for i := range 17 {
		s := verdict.Socket{
			Inode: 70000 + uint64(i)*3, Family: "inet", Type: "stream", Protocol: "tcp", State: "CLOSE-WAIT",
			Local: ptr("10.0.0.5:40112"), Remote: ptr("10.1.2.3:80"), RecvQ: ptr(uint32(0)), SendQ: ptr(uint32(0)),
			Holders: []verdict.Holder{{PID: 4242, FD: int32(100 + 2*i), Comm: "crawler"}, {PID: 4250 + uint32(i%5), FD: int32(100 + 2*i), Comm: "renderer"}},
		}
		switch {
		case i < 4:
			s.RecvQ = ptr(uint32(1))
		case i < 6:
			s.RecvQ = ptr(uint32(1025))
			s.SendQ = ptr(uint32(512))
		}
		f.Sockets = append(f.Sockets, s)
	}
	return f
}

func neverUsed(p verdict.Process) verdict.Finding {
	return verdict.Finding{
		Class: verdict.NeverUsed, Confidence: verdict.Medium, Process: p, Count: 3,
		Origin:   verdict.Origin{Quality: stack.None, Reason: "opened before tracing began"},
		States:   map[string]int{"CLOSE": 3},
		Evidence: []string{"no connect, bind or listen was ever called on them"},
		Advice:   "watch for longer: the line is named as soon as one more leaks",
		Sockets: []verdict.Socket{
			{Inode: 311, Family: "inet", Type: "stream", Protocol: "tcp", State: "CLOSE", Holders: []verdict.Holder{{PID: 4242, FD: 3, Comm: "crawler"}}},
			{Inode: 312, Family: "inet", Type: "stream", Protocol: "tcp", State: "CLOSE", Holders: []verdict.Holder{{PID: 4242, FD: 4, Comm: "crawler"}}},
			{Inode: 315, Family: "inet", Type: "stream", Protocol: "tcp", State: "CLOSE", Holders: []verdict.Holder{{PID: 4242, FD: 6, Comm: "crawler"}}},
		},
	}
}

// hunt sees three runtimes, a hostile name, losses and a deep recursion.
func hunt() *verdict.Report {
	r := base()
	r.Verdict = verdict.Leak
	r.Scope = "the whole system"
	r.Duration = 3725
	r.Reasons = []string{"300 sockets that nothing will close, from 3 origins", "5 sockets of gateway are still winding down in the kernel; those are closed, and not the program's"}
	r.Totals = verdict.Totals{Opened: 2213400, Closed: 2213100, Live: 300}
	r.Limits = []verdict.Limit{
		{PID: 17, Comm: "healthy", NoFile: 1024, Used: 12, GrowthPerMin: ptr(0.04), ExhaustedIn: ptr(1.5e6)},
		{PID: 900, Comm: "gateway", NoFile: 1 << 20, Used: 400, GrowthPerMin: ptr(2.0)},
		{PID: 901, Comm: "full", NoFile: 1024, Used: 1024},
		{PID: 70, Comm: "python3", NoFile: ^uint64(0), Used: 211, GrowthPerMin: ptr(-3.0)},
	}
	r.Loss = verdict.Loss{Loss: event.Loss{RingFull: 41200, ProbeSkipped: 3, StackMissing: 1}, Reconciles: 125, Repaired: 38}
	r.Notes = []string{"pid 901 uses io_uring: sockets it keeps as fixed files have no descriptor and are not seen"}
	r.Omitted = 2
	r.Findings = []verdict.Finding{goGrowing(), pythonInherited(), wideDead()}
	return r
}

func goGrowing() verdict.Finding {
	const exe = "/app/gateway"
	frame := func(function, file string, line int) stack.Frame {
		return stack.Frame{Function: function, Module: exe, File: file, Line: line, Address: 0x401000, Kind: stack.Go}
	}
	f := verdict.Finding{
		Class: verdict.Growing, Confidence: verdict.Medium, Count: 240, GrowthPerMin: ptr(2.0),
		Process: verdict.Process{
			PID: 900, NSPID: ptr(uint32(1)), Comm: "gateway", Exe: ptr(exe),
			Container: "3f2a90b1c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f",
		},
		Series:    sawtooth(),
		OldestAge: ptr(3700.0), YoungestAge: ptr(12.0),
		Origin: verdict.Origin{Quality: stack.Complete, Culprit: ptr(4), Frames: []stack.Frame{
			frame("syscall.Syscall", "/usr/local/go/src/syscall/syscall_linux.go", 73),
			frame("net.sysSocket", "/usr/local/go/src/net/sock_cloexec.go", 19),
			frame("net.internetSocket", "/usr/local/go/src/net/ipsock_posix.go", 167),
			frame("net.(*Dialer).DialContext", "/usr/local/go/src/net/dial.go", 525),
			frame("example.org/gateway/internal/upstream.(*Pool[...]).connect", "/src/internal/upstream/pool_with_a_rather_long_file_name.go", 1288),
		}},
		States: map[string]int{"ESTAB": 240},
		Peers:  []verdict.Peer{{Address: "[fd00:2::1]:5432", Name: "db.internal", Count: 240}},
		Advice: "look for the path on which the connection is not given back",
	}
	for i := range 40 {
		f.Origin.Frames = append(f.Origin.Frames, frame("example.org/gateway/internal/upstream.walk", "/src/internal/upstream/walk.go", 40+i%2))
	}
	f.Origin.Frames = append(f.Origin.Frames, frame("main.main", "/src/main.go", 12), frame("runtime.main", "/usr/local/go/src/runtime/proc.go", 283))
	return f
}

func pythonInherited() verdict.Finding {
	python := func(function, file string, line int) stack.Frame {
		return stack.Frame{Function: function, File: file, Line: line, Kind: stack.Python}
	}
	const lib = "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"
	return verdict.Finding{
		Class: verdict.Inherited, Confidence: verdict.Low, Count: 1,
		Process:   verdict.Process{PID: 71, Comm: "sleep"},
		OldestAge: ptr(200.0), YoungestAge: ptr(200.0),
		Origin: verdict.Origin{Quality: stack.Complete, Culprit: ptr(4), Frames: []stack.Frame{
			native("socket", libc, "", 0, 0x10ebd0),
			native("sock_initobj", lib, "", 0, 0x30),
			native("_PyEval_EvalFrameDefault", lib, "", 0, 0x31),
			python("Session.__init__", "/usr/lib/python3.11/socket.py", 233),
			python("open_session", "/home/svc/app/session.py", 88),
			python("<module>", "/home/svc/app/main.py", 12),
		}},
		States:   map[string]int{"ESTAB": 1},
		Sockets:  []verdict.Socket{{Inode: 5, State: "ESTAB", Holders: []verdict.Holder{{PID: 71, FD: 9, Comm: "sleep"}}}},
		Evidence: []string{"python3 (pid 70) opened it and closed it 3 min ago; sleep (pid 71) got it through fork and exec"},
		Advice:   "set close-on-exec: SOCK_CLOEXEC, or O_CLOEXEC's like in your runtime",
	}
}

func wideDead() verdict.Finding {
	return verdict.Finding{
		Class: verdict.Dead, Confidence: verdict.High, Count: 59,
		Process: verdict.Process{PID: 88, Comm: "\x1b[31mevil\n"}, OldestAge: ptr(90000.0), YoungestAge: ptr(90000.0),
		Origin: verdict.Origin{Quality: stack.Complete, Frames: []stack.Frame{
			native("", "", "", 0, 0x7f0011223344),
			native("接続を開く", "/opt/日本語/サーバー", "/ソース/接続.c", 7, 0x10),
		}},
		States: map[string]int{"CLOSE": 59},
	}
}

func healthy() *verdict.Report {
	r := base()
	r.Verdict = verdict.NoLeak
	r.Reasons = []string{
		"12,345 opened, 12,340 closed, 5 live: none of them in a condition that a leak has, and no origin's sockets only become more",
		"if memory grows, look at the heap",
	}
	r.Totals = verdict.Totals{Opened: 12345, Closed: 12340, Live: 5, Preexisting: 2, TimeWait: ptr(uint64(0))}
	r.Limits = []verdict.Limit{{PID: 4242, Comm: "crawler", NoFile: 1024, Used: 12, GrowthPerMin: ptr(0.01)}}
	r.Loss.Reconciles = 4
	return r
}

func winding() *verdict.Report {
	r := base()
	r.Verdict = verdict.NoLeak
	r.Reasons = []string{
		"9,311 opened, 9,311 closed, 0 live: none of them in a condition that a leak has, and no origin's sockets only become more",
		"the kernel still holds 311 sockets whose descriptors are all closed (FIN-WAIT, LAST-ACK): it is winding them down, the program has done its part",
		"9,000 sockets in TIME-WAIT, or FIN-WAIT-2 without a descriptor, belong to the kernel, not to the program, and go by themselves after a minute",
	}
	r.Observations = []string{"3 connections to 10.0.0.8:443 have been silent for 40 min and are still there"}
	r.Totals = verdict.Totals{Opened: 9311, Closed: 9311, Winding: 311, TimeWait: ptr(uint64(9000))}
	return r
}

func inconclusive() *verdict.Report {
	r := base()
	r.Verdict = verdict.Inconclusive
	r.Duration = 4
	r.Reasons = []string{"watched for 4 s, and nothing can be called leaked before the grace time of 10 s"}
	r.Totals = verdict.Totals{Opened: 9, Closed: 1, Live: 8}
	r.Loss.Loss = event.Loss{MapFull: 1, DecodeError: 1, TableFull: 7}
	r.Notes = []string{"pid 4242 ended 2 s after tracing began"}
	return r
}

// unknown has a finding of which nothing is known but that it is there.
func unknown() *verdict.Report {
	r := base()
	r.Verdict = verdict.Leak
	r.Findings = []verdict.Finding{{
		Class: verdict.Dead, Confidence: verdict.Low, Process: verdict.Process{PID: 1, Comm: "init"}, Count: 1,
		Origin:  verdict.Origin{Quality: stack.None},
		Sockets: []verdict.Socket{{Inode: 1, State: "UNKNOWN"}},
	}}
	return r
}
