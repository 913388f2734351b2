package casebook

import (
	"slices"

	"sockleak/internal/verdict"
)

// further are the cases beside the stories: leaks as other languages and other
// ways to a socket have them, and healthy programs that look like leaks.
func further() []Case {
	return slices.Concat(clients(), servers(), travellers(), healthy())
}

// twins are a leaking case and the same program without the mistake.
func twins(c Case) []Case {
	ok := c
	name := c.Name
	c.Name, c.Args = name+"/leak", append([]string{"leak"}, c.Args...)
	ok.Name, ok.Args, ok.Want = name+"/ok", append([]string{"ok"}, ok.Args...), nil
	ok.Does = "the twin of the above, which closes"
	return []Case{c, ok}
}

// at is one finding with its origin.
func at(class verdict.Class, function string) []Want {
	return []Want{{Class: class, Function: function}}
}

// byGrowth is at for an established connection that only its origin's history
// accuses.
func byGrowth(function string) []Want { return at(verdict.Abandoned, function) }

// dialled is the finding of connections that net/http made.
func dialled() []Want {
	return []Want{{Class: verdict.Abandoned, Function: "net/http.(*Transport).startDialConnForLocked.func1",
		Library: "net/http connects in a goroutine of its own"}}
}

// clients forget their side of a connection.
func clients() []Case {
	return slices.Concat(
		twins(Case{
			Name: "go-bodies-large", Language: "Go", Source: "gobodies", Args: []string{"large"}, Setup: web,
			Does: "doesn't close the bodies of large answers (net/http)",
			Want: dialled(),
		}),
		twins(Case{
			Name: "go-bodies-small", Language: "Go", Source: "gobodies", Args: []string{"small"}, Setup: web,
			Does: "doesn't close the bodies of answers of one line (net/http)",
			Want: dialled(),
		}),
		twins(Case{
			Name: "requests-stream", Language: "Python", Source: "requests_stream.py", Setup: web,
			Does: "requests with stream=True, responses kept and not closed",
			Want: at(verdict.Abandoned, "fetch_head"),
		}),
		twins(Case{
			Name: "asyncio-keep", Language: "Python", Source: "asyncio_writer.py", Args: []string{"keep"}, Setup: lines,
			Does: "asyncio: never closes the writer; the server waits",
			Want: byGrowth("ask"),
		}),
		twins(Case{
			Name: "asyncio-gone", Language: "Python", Source: "asyncio_writer.py", Args: []string{"gone"}, Setup: lines,
			Does: "asyncio: never closes the writer; the server has closed",
			Want: at(verdict.PeerClosed, "ask"),
		}),
		twins(Case{
			Name: "url-bodies", Language: "Java", Source: "UrlBodies.java", Setup: web,
			Does: "HttpURLConnection: bodies neither read nor closed",
			Want: at(verdict.Abandoned, "UrlBodies.check"),
		}),
		twins(Case{
			Name: "nio-keep", Language: "Java", Source: "NioChannels.java", Args: []string{"keep"}, Setup: lines,
			Does: "java.nio: cancels the key and doesn't close the channel; the server waits",
			Want: byGrowth("NioChannels.connect"),
		}),
		twins(Case{
			Name: "nio-gone", Language: "Java", Source: "NioChannels.java", Args: []string{"gone"}, Setup: lines,
			Does: "java.nio: cancels the key and doesn't close the channel; the server has closed",
			Want: at(verdict.PeerClosed, "NioChannels.connect"),
		}),
		twins(Case{
			Name: "forget-keep", Language: "Rust", Source: "forget.rs", Args: []string{"keep"}, Setup: lines,
			Does: "mem::forget of a TcpStream; the server waits",
			Want: byGrowth("forget::check"),
		}),
		twins(Case{
			Name: "forget-gone", Language: "Rust", Source: "forget.rs", Args: []string{"gone"}, Setup: lines,
			Does: "mem::forget of a TcpStream; the server has closed",
			Want: at(verdict.PeerClosed, "forget::check"),
		}),
		twins(Case{
			Name: "udp-resolver", Language: "C", Source: "udp_resolver.c", Setup: names,
			Does: "a UDP socket for each question, not closed if there is no such name",
			Want: at(verdict.Growing, "resolve"),
		}),
		twins(Case{
			Name: "unix-keep", Language: "C", Source: "unix_client.c", Args: []string{"keep"}, Setup: unixLines,
			Does: "AF_UNIX stream, connects anew without closing; the daemon waits",
			Want: at(verdict.Growing, "connect_to_daemon"),
		}),
		twins(Case{
			Name: "unix-gone", Language: "C", Source: "unix_client.c", Args: []string{"gone"}, Setup: unixLines,
			Does: "AF_UNIX stream, connects anew without closing; the daemon has closed",
			Want: at(verdict.PeerClosed, "connect_to_daemon"),
		}),
	)
}

// ownClients is the network of a server that brings its clients along.
func ownClients(s *Stage) []string {
	s.Network().KeepPorts()
	return nil
}

// servers forget what they accepted.
func servers() []Case {
	return slices.Concat(
		twins(Case{
			Name: "epoll-fin", Language: "C", Source: "epoll_hup.c", Args: []string{"fin"}, Setup: ownClients,
			Does: "an epoll server that doesn't close on EPOLLRDHUP",
			Want: []Want{{Class: verdict.PeerClosed, Function: "accept_client", Peer: "127.0.0.1"}},
		}),
		twins(Case{
			Name: "epoll-rst", Language: "C", Source: "epoll_hup.c", Args: []string{"rst"},
			Does: "an epoll server that doesn't close on EPOLLHUP",
			Want: []Want{{Class: verdict.Dead, Function: "accept_client", Peer: "127.0.0.1"}},
		}),
	)
}

// travellers are sockets that get to where they leak in unusual ways.
func travellers() []Case {
	return slices.Concat(
		twins(Case{
			Name: "dup", Language: "C", Source: "dup_forgotten.c", Setup: lines,
			Does: "closes the descriptor and forgets its copy",
			Want: at(verdict.PeerClosed, "ask_by_stdio"),
		}),
		twins(Case{
			Name: "inherited", Language: "C", Source: "inherited.c",
			Does: "starts jobs that inherit the accepted connection",
			Want: []Want{{Class: verdict.Inherited, Function: "serve_one", Peer: "127.0.0.1", Holder: "sleep",
				OnlyNew: "who created them is not known", Before: verdict.PeerClosed}},
		}),
		twins(Case{
			Name: "scm-rights", Language: "C", Source: "scm_rights.c", Setup: ownClients,
			Does: "a worker forgets connections that it was passed (SCM_RIGHTS)",
			Want: []Want{{Class: verdict.PeerClosed, Function: "accept_and_pass", Peer: "127.0.0.1",
				OnlyNew: "who accepted them is not known", Before: verdict.PeerClosed}},
		}),
		twins(Case{
			Name: "io-uring", Language: "C", Source: "uring.c", Setup: lines, Linux: [2]int{5, 19},
			Does: "makes and connects its sockets with io_uring, and doesn't close them",
			Want: []Want{{Class: verdict.PeerClosed, NoOrigin: "no system call creates them"}},
		}),
	)
}

// healthy programs, of which nothing may be said, idle or under load.
func healthy() []Case {
	pool := func(mode, does string) Case {
		return Case{
			Name: "go-pools-" + mode, Language: "Go", Source: "gopools", Args: []string{mode}, Setup: both(lines, web),
			Does: "database/sql and net/http pools, " + does,
		}
	}
	return []Case{
		pool("idle", "idle after a burst"),
		pool("busy", "busy"),
		pool("bursts", "busy for 5 s of 45"),
		pool("warmup", "one task more every two seconds, then idle"),
		{Name: "url-pool-idle", Language: "Java", Source: "UrlPool.java", Args: []string{"idle"}, Setup: both(web, lines),
			Does: "HttpURLConnection's keep-alive, idle but for 2 s of 45, and a blocked reader"},
		{Name: "url-pool-busy", Language: "Java", Source: "UrlPool.java", Args: []string{"busy"}, Setup: both(web, lines),
			Does: "HttpURLConnection's keep-alive, busy, and a blocked reader"},
		{Name: "urllib3-idle", Language: "Python", Source: "urllib3_pool.py", Args: []string{"idle"}, Setup: both(web, lines),
			Does: "a urllib3 pool, idle after a burst, and an asyncio loop"},
		{Name: "urllib3-busy", Language: "Python", Source: "urllib3_pool.py", Args: []string{"busy"}, Setup: both(web, lines),
			Does: "a urllib3 pool, busy, and an asyncio loop"},
		{Name: "services", Language: "Go", Source: "goservices",
			Does: "long polls, idle WebSockets, pub/sub, one multiplexed connection, clients that arrive one by one: both sides"},
		{Name: "streams", Language: "Python", Source: "streams.py", Setup: lines,
			Does: "a slow reader, a reader that pauses for 20 s, clients that half-close and read on"},
		{Name: "prefork", Language: "C", Source: "prefork.c",
			Does: "a listener inherited as descriptor 3 and shared by four workers"},
		{Name: "sawtooth", Language: "Go", Source: "gosawtooth", Setup: lines,
			Does: "drops connections that the garbage collector closes every 15 s"},
	}
}
