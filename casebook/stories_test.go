package casebook

import (
	"net"
	"slices"

	"sockleak/internal/verdict"
)

// stories are the five that sockleak was made for, each with its healthy twin.
func stories() []Case {
	return slices.Concat(reactorCases(), dnsCases())
}

func reactorCases() []Case {
	var cases []Case
	for _, transport := range []string{"tcp", "tls"} {
		for _, peer := range []struct {
			name, does string
			class      verdict.Class
			before     verdict.Class
		}{
			{name: "drops", does: "whose peer drops SYNs", class: verdict.ConnectPending},
			{name: "refuses", does: "whose peer refuses", class: verdict.ConnectFailed},
			{name: "late", does: "that is established after that", class: "abandoned", before: verdict.Growing},
		} {
			does := "C++, own reactor, " + transport + ": connector destroyed before it is established, " + peer.does
			setup := func(s *Stage) []string { return reactorPeer(s, transport, peer.name) }
			base := Case{Story: 1, Language: "C++", Source: "reactor.cpp", Flags: []string{"-lssl", "-lcrypto"}, Setup: setup}
			leak, ok := base, base
			leak.Name, leak.Args, leak.Does = "reactor-"+transport+"-"+peer.name+"/leak", []string{"leak", transport}, does
			leak.Want = []Want{{Class: peer.class, Before: peer.before, Function: "Connector::start"}}
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
	server := func(s *Stage) []string { return hostPort(s.T, serve(s.T, answerDNS)) }
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
		Says: "winding down",
	}}
}
