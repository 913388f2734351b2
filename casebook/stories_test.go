package casebook

import (
	"net"
	"slices"
	"time"

	"sockleak/internal/verdict"
)

// stories are the five that sockleak was made for, each with its healthy twin.
func stories() []Case {
	return slices.Concat(reactorCases(), healthCases(), dnsCases(), gatewayCases(), machineCases())
}

func reactorCases() []Case {
	var cases []Case
	for _, transport := range []string{"tcp", "tls"} {
		for _, peer := range []struct {
			name, does string
			class      verdict.Class
		}{
			{name: "drops", does: "whose peer drops SYNs", class: verdict.ConnectPending},
			{name: "refuses", does: "whose peer refuses", class: verdict.ConnectFailed},
			{name: "late", does: "that is established after that", class: verdict.Abandoned},
		} {
			does := "C++, own reactor, " + transport + ": connector destroyed before it is established, " + peer.does
			setup := func(s *Stage) []string { return reactorPeer(s, transport, peer.name) }
			base := Case{Story: 1, Language: "C++", Source: "reactor.cpp", Flags: []string{"-lssl", "-lcrypto"}, Setup: setup}
			leak, ok := base, base
			leak.Name, leak.Args, leak.Does = "reactor-"+transport+"-"+peer.name+"/leak", []string{"leak", transport}, does
			leak.Want = []Want{{Class: peer.class, Function: "Connector::start"}}
			ok.Name, ok.Args, ok.Does = "reactor-"+transport+"-"+peer.name+"/ok", []string{"ok", transport}, does+"; closes"
			cases = append(cases, leak, ok)
		}
	}
	return cases
}

// reactorPeer makes the peer of one kind and returns its address.
func reactorPeer(s *Stage, transport, kind string) []string {
	n := s.Network()
	const host, port = "127.0.0.1", "443"
	switch {
	case kind == "drops":
		n.Patient()
		return []string{n.Blackhole(), port}
	case kind == "late" && transport == "tcp":
		n.serve(net.JoinHostPort(host, port), greet)
		n.LateAccept(port)
	case kind == "late":
		n.serve(net.JoinHostPort(host, port), silent) // the handshake is never answered
	}
	return []string{host, port}
}

func dnsCases() []Case {
	does := "C, threads: DNS over TCP; the path of an answer with an error code "
	// In a namespace of its own TIME-WAIT is that of the program alone.
	server := func(s *Stage) []string {
		s.Network().serve("127.0.0.1:53", answerDNS)
		return []string{"127.0.0.1", "53"}
	}
	return []Case{{
		Name: "dns/leak", Story: 3, Language: "C", Source: "dns.c", Args: []string{"leak"}, Setup: server,
		Does: does + "forgets close",
		Want: []Want{
			{Class: verdict.PeerClosed, Function: "dial", States: []string{"CLOSE-WAIT"}},
			{Class: verdict.Dead, Function: "dial", States: []string{"CLOSE"}},
		},
	}, {
		Name: "dns/ok", Story: 3, Language: "C", Source: "dns.c", Args: []string{"ok"}, Setup: server,
		Does: does + "closes too; FIN-WAIT-2 and TIME-WAIT are the kernel's",
		Says: "FIN-WAIT-2 without a descriptor, in the same network namespace, of whatever program, belong to the kernel",
	}}
}

func healthCases() []Case {
	does := "Node 20, HTTPS health checker: the body of a large response is not wanted; "
	server := func(s *Stage) []string {
		address, certificate := serveWeb(s.T)
		return append(hostPort(s.T, address), certificate)
	}
	return []Case{{
		Name: "health/leak", Story: 2, Language: "Node", Source: "health.js", Args: []string{"leak"}, Setup: server,
		Does: does + "neither read nor destroyed",
		Want: []Want{{Class: verdict.Abandoned, NoOrigin: "node connects from a later tick, where only its own frames are", Asked: "check"}},
	}, {
		Name: "health/ok", Story: 2, Language: "Node", Source: "health.js", Args: []string{"ok"}, Setup: server,
		Does: does + "destroyed; HEAD and small responses reuse connections",
	}}
}

const (
	// devices is how many the gateway of a story has.
	devices = 6
	// stays is how long a device keeps a connection. The first are shorter, each
	// another, so that one comes back every two seconds.
	stays = devices * 2 * time.Second
	// outages is how often each device comes back during an outage.
	outages = 3
	// works is how long all goes well before the wire is cut, or the power.
	works = 8 * time.Second
)

// reconnecting devices give up a connection as they are told, and make another.
func reconnecting(give func(net.Conn)) func(*Stage) []string {
	return func(s *Stage) []string {
		f, args := newFleet(s, devices)
		f.launch(s, func(*Program) {
			for i := range devices {
				first := stays * time.Duration(i+1) / devices
				f.run(func() error {
					return f.live(i, give, func(n int) <-chan time.Time { return time.After(min(stays, first+time.Duration(n)*stays)) })
				})
			}
		})
		return args
	}
}

// unpowered devices come back several times while they are traced, without having
// closed what they had, and all is well after that.
func unpowered(s *Stage) []string {
	f, args := newFleet(s, devices)
	outage := make(chan time.Time)
	over := func(n int) <-chan time.Time {
		switch {
		case n == 0:
			return outage
		case n < outages:
			return time.After(3 * time.Second)
		}
		return nil
	}
	f.launch(s, func(p *Program) {
		p.traced = func() { time.AfterFunc(works, func() { close(outage) }) }
		for i := range devices {
			f.run(func() error { return f.live(i, lost, over) })
		}
	})
	return args
}

// vanishing devices are cut off after a while.
func vanishing(s *Stage) []string {
	f, args := newFleet(s, devices)
	f.launch(s, func(p *Program) {
		for i := range devices {
			f.run(func() error { return f.live(i, lost, always) })
		}
		f.run(func() error {
			select {
			case <-f.stop:
				return nil
			case <-time.After(works):
			}
			f.unplug()
			for i := range devices {
				p.Leak(deviceHost(i))
			}
			return nil
		})
	})
	return args
}

// lost is how a device gives up a connection when its power fails: without a word.
func lost(net.Conn) {}

// left is how it does when all is well.
func left(c net.Conn) { c.Close() }

func gatewayCases() []Case {
	base := Case{Story: 4, Language: "Python", Source: "gateway.py"}
	does := "Python gateway, selectors; "
	cases := []Case{base, base, base, base, base}
	cases[0].Name, cases[0].Args, cases[0].Setup = "gateway-outage/leak", []string{"leak"}, unpowered
	cases[0].Does = does + "devices come back after an outage while traced, their old connections are kept"
	cases[0].Want = []Want{{Class: verdict.Superseded, Lag: idle, Function: "Gateway.accept"}}
	cases[1].Name, cases[1].Args, cases[1].Setup = "gateway-flapping/leak", []string{"leak"}, reconnecting(lost)
	cases[1].Does = does + "devices come back all the time, their old connections are kept"
	cases[1].Want = []Want{{Class: verdict.Superseded, Lag: idle, Function: "Gateway.accept"}}
	cases[2].Name, cases[2].Args, cases[2].Setup = "gateway-flapping/ok", []string{"ok"}, reconnecting(lost)
	cases[2].Does = does + "devices come back all the time, the old connection is closed"
	cases[3].Name, cases[3].Args, cases[3].Setup = "gateway-cut/leak", []string{"leak"}, vanishing
	cases[3].Does = does + "the wire to the devices is cut, their connections are kept"
	cases[3].Want = []Want{{Class: verdict.HalfOpen, Lag: idle, NoOrigin: opened}}
	cases[4].Name, cases[4].Args, cases[4].Setup = "gateway-cut/ok", []string{"ok"}, vanishing
	cases[4].Does = does + "the wire to the devices is cut, what is silent is closed"
	return cases
}

// opened says why there is no origin.
const opened = "all were opened before tracing began"

func machineCases() []Case {
	base := Case{Story: 5, Language: "Ruby", Source: "machine.rb"}
	does := "Ruby, EventMachine; "
	cases := []Case{base, base, base}
	cases[0].Name, cases[0].Args, cases[0].Setup = "machine-heap/ok", []string{"heap"}, reconnecting(left)
	cases[0].Does = does + "memory grows, sockets come and go"
	cases[0].Says = "look at the heap"
	cases[1].Name, cases[1].Args, cases[1].Setup = "machine-cut/leak", []string{"leak"}, vanishing
	cases[1].Does = does + "the wire to the routers is cut, their connections are kept"
	cases[1].Want = []Want{{Class: verdict.HalfOpen, Lag: idle, NoOrigin: opened}}
	cases[2].Name, cases[2].Args, cases[2].Setup = "machine-cut/ok", []string{"ok"}, vanishing
	cases[2].Does = does + "the wire to the routers is cut, what is silent is closed"
	return cases
}
