package report

import (
	"strings"
	"testing"

	"sockleak/internal/verdict"
)

func TestLeakedPeers(t *testing.T) {
	peer := func(address, name string, n int) verdict.Peer {
		return verdict.Peer{Address: address, Name: name, Count: n}
	}
	tests := []struct {
		name  string
		peers []verdict.Peer
		of    int
		want  string
	}{
		{"none", nil, 3, ""},
		{"one", []verdict.Peer{peer("192.0.2.7:443", "", 1)}, 1, "192.0.2.7:443"},
		{"one for all", []verdict.Peer{peer("192.0.2.7:443", "", 1200)}, 1200, "192.0.2.7:443, all 1,200"},
		{"one for some", []verdict.Peer{peer("192.0.2.7:443", "", 2)}, 3, "2 × 192.0.2.7:443; not known of 1"},
		{"with a name", []verdict.Peer{peer("192.0.2.7:443", "status.example", 2)}, 2, "status.example:443 (192.0.2.7), all 2"},
		{"IPv6 with a name", []verdict.Peer{peer("[2001:db8::7]:443", "status.example", 2)}, 2, "status.example:443 (2001:db8::7), all 2"},
		{"a path", []verdict.Peer{peer("/run/app.sock", "", 2)}, 2, "/run/app.sock, all 2"},
		{"few ports", []verdict.Peer{peer("10.0.0.1:80", "", 2), peer("10.0.0.1:443", "", 1)}, 3, "2 × 10.0.0.1:80, 1 × 10.0.0.1:443"},
		{"clients with a port each", []verdict.Peer{
			peer("10.0.0.3:9", "", 2), peer("10.0.0.1:1001", "", 1), peer("10.0.0.1:1002", "", 1), peer("10.0.0.1:1003", "", 1),
			peer("[2001:db8::7]:1", "seven", 1), peer("[2001:db8::7]:2", "seven", 1),
		}, 7, "3 × 10.0.0.1, 2 × 10.0.0.3:9, 2 × seven (2001:db8::7)"},
		{"many", []verdict.Peer{peer("10.0.0.3:9", "", 2), peer("10.0.0.4:9", "", 1), peer("10.0.0.5:9", "", 1), peer("10.0.0.6:9", "", 1), peer("10.0.0.7:9", "", 1)},
			6, "2 × 10.0.0.3:9, 1 × 10.0.0.4:9, 1 × 10.0.0.5:9, and 2 more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.ReplaceAll(leakedPeers(&verdict.Finding{Peers: tt.peers, Count: tt.of}), nbsp, " "); got != tt.want {
				t.Errorf("leakedPeers = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestQueueWords(t *testing.T) {
	queues := func(state string, recv, send uint32, unacked *uint32) verdict.Socket {
		return verdict.Socket{State: state, RecvQ: &recv, SendQ: &send, Unacked: unacked}
	}
	tests := []struct {
		name    string
		sockets []verdict.Socket
		want    string
	}{
		{"not known", []verdict.Socket{{State: "ESTAB"}}, ""},
		{"empty", []verdict.Socket{queues("ESTAB", 0, 0, ptr(uint32(0)))}, ""},
		{"the FIN is no data", []verdict.Socket{queues("CLOSE-WAIT", 1, 0, nil), queues("CLOSE", 1, 9, nil), queues("LISTEN", 5, 9, nil)}, ""},
		{"data", []verdict.Socket{queues("CLOSE-WAIT", 1001, 0, nil), queues("CLOSE", 2, 0, nil), queues("ESTAB", 0, 0, nil)},
			"Recv-Q: 1,002 bytes unread on 2 sockets"},
		{"the SYN is no data", []verdict.Socket{queues("SYN-SENT", 0, 1, ptr(uint32(1)))}, ""},
		{"whether it was sent is not known", []verdict.Socket{queues("ESTAB", 0, 1, nil)}, "Send-Q: 1 byte not acknowledged on 1 socket"},
		{"all was sent", []verdict.Socket{queues("ESTAB", 0, 5, ptr(uint32(5)))}, "Send-Q: 5 bytes not acknowledged on 1 socket"},
		{"nothing was sent", []verdict.Socket{queues("ESTAB", 0, 5, ptr(uint32(0)))}, "Send-Q: 5 bytes not sent on 1 socket"},
		{"both", []verdict.Socket{queues("ESTAB", 3, 5, ptr(uint32(1))), queues("ESTAB", 0, 5, ptr(uint32(0)))},
			"Recv-Q: 3 bytes unread on 1 socket; Send-Q: 10 bytes queued on 2 sockets, of which 1 byte was sent and not acknowledged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.ReplaceAll(queueWords(tt.sockets), nbsp, " "); got != tt.want {
				t.Errorf("queueWords = %q, want %q", got, tt.want)
			}
		})
	}
}
