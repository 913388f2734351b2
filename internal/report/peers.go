package report

import (
	"cmp"
	"fmt"
	"net"
	"slices"

	"sockleak/internal/verdict"
)

// leakedPeers says to whom the sockets of a finding are connected. The kernel
// forgets the peer of a socket whose connect has failed.
func leakedPeers(f *verdict.Finding) string {
	words, unknown := peersWords(f.Peers, f.Count), f.Count
	for _, p := range f.Peers {
		unknown -= p.Count
	}
	if words != "" && unknown > 0 {
		words += "; not known of" + nbsp + thousands(unknown)
	}
	return words
}

// peersWords lists addresses of sockets; of is the number of sockets.
func peersWords(peers []verdict.Peer, of int) string {
	if len(peers) == 1 && peers[0].Count == of {
		return peerWords(peers[0]) + either(of, "", ", all"+nbsp+thousands(of))
	}
	if len(peers) > maxPeers {
		peers = byAddress(peers)
	}
	var entries []string
	for _, p := range peers {
		entries = append(entries, thousands(p.Count)+nbsp+"×"+nbsp+peerWords(p))
	}
	return most(entries, maxPeers)
}

// byAddress counts the peers that differ only in their port as one, without a
// port: those of a server's clients are arbitrary.
func byAddress(peers []verdict.Peer) []verdict.Peer {
	ports := map[string]int{}
	host := func(p verdict.Peer) string {
		if host, _, err := net.SplitHostPort(p.Address); err == nil {
			return host
		}
		return p.Address
	}
	for _, p := range peers {
		ports[host(p)]++
	}
	merged := []verdict.Peer{}
	at := map[string]int{}
	for _, p := range peers {
		if ports[host(p)] == 1 {
			merged = append(merged, p)
			continue
		}
		i, seen := at[host(p)]
		if !seen {
			i = len(merged)
			at[host(p)] = i
			merged = append(merged, verdict.Peer{Address: host(p), Name: p.Name})
		}
		merged[i].Count += p.Count
	}
	slices.SortStableFunc(merged, func(a, b verdict.Peer) int { return cmp.Compare(b.Count, a.Count) })
	return merged
}

// peerWords writes a name, with the address that it stands for.
func peerWords(p verdict.Peer) string {
	if p.Name == "" {
		return p.Address
	}
	address, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		return fmt.Sprintf("%s%s(%s)", p.Name, nbsp, p.Address)
	}
	return fmt.Sprintf("%s:%s%s(%s)", p.Name, port, nbsp, address)
}
