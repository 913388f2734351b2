package casebook

import "sockleak/internal/verdict"

// stories are the five that sockleak was made for, each with its healthy twin.
func stories() []Case {
	return dnsCases()
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
