package event

import (
	"fmt"
	"testing"
)

func TestStateName(t *testing.T) {
	tcp := Sock{Family: afInet, Type: sockStream, Protocol: protoTCP}
	mptcp := Sock{Family: afInet6, Type: sockStream, Protocol: protoMPTCP}
	defaultTCP := Sock{Family: afInet6, Type: sockStream}
	udp := Sock{Family: afInet, Type: sockDgram, Protocol: 17}
	sctp := Sock{Family: afInet, Type: sockStream, Protocol: 132}
	unixStream := Sock{Family: afUnix, Type: sockStream}
	tests := []struct {
		sock  Sock
		state uint8
		want  string
	}{
		{tcp, 0, "UNKNOWN"},
		{tcp, StateEstablished, "ESTAB"},
		{tcp, StateSynSent, "SYN-SENT"},
		{tcp, StateSynRecv, "SYN-RECV"},
		{tcp, StateFinWait1, "FIN-WAIT-1"},
		{tcp, StateFinWait2, "FIN-WAIT-2"},
		{tcp, StateTimeWait, "TIME-WAIT"},
		{tcp, StateClose, "CLOSE"},
		{tcp, StateCloseWait, "CLOSE-WAIT"},
		{tcp, StateLastAck, "LAST-ACK"},
		{tcp, StateListen, "LISTEN"},
		{tcp, StateClosing, "CLOSING"},
		{tcp, StateNewSynRecv, "SYN-RECV"},
		{tcp, 200, "UNKNOWN"},
		{mptcp, StateClose, "CLOSE"},
		{defaultTCP, StateClose, "CLOSE"},
		{udp, StateClose, "UNCONN"},
		{udp, StateEstablished, "ESTAB"},
		{sctp, StateClose, "UNCONN"},
		{unixStream, StateClose, "UNCONN"},
		{unixStream, StateListen, "LISTEN"},
	}
	for _, tt := range tests {
		tt.sock.State = tt.state
		if got := StateName(tt.sock); got != tt.want {
			t.Errorf("StateName(%+v) = %q, want %q", tt.sock, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	tests := []struct {
		family, typ, proto uint16
		want               string // netid family type protocol
	}{
		{afInet, sockStream, protoTCP, "tcp inet stream tcp"},
		{afInet, sockStream, 0, "tcp inet stream -"},
		{afInet6, sockStream, protoMPTCP, "mptcp inet6 stream mptcp"},
		{afInet6, sockSeqpacket, 132, "sctp inet6 seqpacket sctp"},
		{afInet6, sockSeqpacket, 0, "inet6 inet6 seqpacket -"},
		{afInet, sockDgram, 17, "udp inet dgram udp"},
		{afInet, sockDgram, 0, "udp inet dgram -"},
		{afInet, sockDgram, 1, "icmp inet dgram icmp"},
		{afInet6, sockDgram, 58, "icmp6 inet6 dgram ipv6-icmp"},
		{afInet6, sockRaw, 58, "raw inet6 raw ipv6-icmp"},
		{afInet, sockRaw, 99, "raw inet raw 99"},
		{afUnix, sockStream, 0, "u_str unix stream -"},
		{afUnix, sockDgram, 0, "u_dgr unix dgram -"},
		{afUnix, sockSeqpacket, 0, "u_seq unix seqpacket -"},
		{afUnix, 9, 0, "unix unix type-9 -"},
		{afNetlink, sockRaw, 0, "nl netlink raw rtnl"},
		{afNetlink, sockDgram, 15, "nl netlink dgram uevent"},
		{afNetlink, sockDgram, 77, "nl netlink dgram 77"},
		{afPacket, sockRaw, 0x86dd, "p_raw packet raw 0x86dd"},
		{afPacket, sockDgram, 0, "p_dgr packet dgram -"},
		{afVsock, sockStream, 0, "v_str vsock stream -"},
		{afVsock, sockDgram, 0, "v_dgr vsock dgram -"},
		{afVsock, sockSeqpacket, 0, "vsock vsock seqpacket -"},
		{afXDP, sockRaw, 0, "xdp xdp raw -"},
		{99, sockRaw, 3, "family-99 family-99 raw 3"},
	}
	for _, tt := range tests {
		s := Sock{Family: tt.family, Type: tt.typ, Protocol: tt.proto}
		proto := ProtocolName(tt.family, tt.proto)
		if proto == "" {
			proto = "-"
		}
		got := fmt.Sprint(NetID(s), " ", FamilyName(tt.family), " ", TypeName(tt.typ), " ", proto)
		if got != tt.want {
			t.Errorf("names of %+v = %q, want %q", s, got, tt.want)
		}
	}
}

func TestNamesDoNotAllocate(t *testing.T) {
	s := Sock{Family: afInet6, Type: sockStream, Protocol: protoTCP, State: StateCloseWait}
	n := testing.AllocsPerRun(10, func() {
		if StateName(s)+NetID(s) == "" || FamilyName(s.Family) == "" || TypeName(s.Type) == "" {
			t.Error("a name is empty")
		}
	})
	if n > 1 { // the concatenation above
		t.Errorf("naming a TCP socket makes %v allocations, want none", n)
	}
}
