package event

import "strconv"

// Address families, socket types and protocols as Linux numbers them. They are
// written down here, not taken from package syscall, because a recording must
// read the same on every machine. Socket types are those of every
// architecture but MIPS.
const (
	afUnix    = 1
	afInet    = 2
	afInet6   = 10
	afNetlink = 16
	afPacket  = 17
	afTIPC    = 30
	afVsock   = 40
	afXDP     = 44

	sockStream    = 1
	sockDgram     = 2
	sockRaw       = 3
	sockSeqpacket = 5

	protoTCP   = 6
	protoMPTCP = 262
)

// IsTCP reports whether the socket is a TCP socket to its user, MPTCP included:
// whether its State is one of RFC 9293. A protocol of zero is the family's
// default, which is TCP for a stream.
func (s Sock) IsTCP() bool {
	if s.Type != sockStream || (s.Family != afInet && s.Family != afInet6) {
		return false
	}
	return s.Protocol == 0 || s.Protocol == protoTCP || s.Protocol == protoMPTCP
}

// StateName returns the socket's state as ss(8) writes it, with one difference:
// ss calls a TCP socket in TCP_CLOSE "UNCONN" like a datagram socket without a
// peer. Here it is CLOSE, because for TCP it says that the connection ended, or
// never was, and UNCONN is kept for sockets whose normal state it is.
func StateName(s Sock) string {
	switch s.State {
	case StateEstablished:
		return "ESTAB"
	case StateSynSent:
		return "SYN-SENT"
	case StateSynRecv, StateNewSynRecv:
		return "SYN-RECV"
	case StateFinWait1:
		return "FIN-WAIT-1"
	case StateFinWait2:
		return "FIN-WAIT-2"
	case StateTimeWait:
		return "TIME-WAIT"
	case StateClose:
		if s.IsTCP() {
			return "CLOSE"
		}
		return "UNCONN"
	case StateCloseWait:
		return "CLOSE-WAIT"
	case StateLastAck:
		return "LAST-ACK"
	case StateListen:
		return "LISTEN"
	case StateClosing:
		return "CLOSING"
	}
	return "UNKNOWN"
}

// FamilyName returns the name of an address family in lower case, as
// address_families(7) has it after AF_; "family-N" if sockleak has none for it.
func FamilyName(family uint16) string {
	switch family {
	case afUnix:
		return "unix"
	case afInet:
		return "inet"
	case afInet6:
		return "inet6"
	case 15:
		return "key"
	case afNetlink:
		return "netlink"
	case afPacket:
		return "packet"
	case 21:
		return "rds"
	case 29:
		return "can"
	case afTIPC:
		return "tipc"
	case 31:
		return "bluetooth"
	case 38:
		return "alg"
	case afVsock:
		return "vsock"
	case 43:
		return "smc"
	case afXDP:
		return "xdp"
	}
	return "family-" + decimal(family)
}

// TypeName returns the name of a socket type in lower case, as socket(2) has it
// after SOCK_; "type-N" if there is none.
func TypeName(typ uint16) string {
	switch typ {
	case sockStream:
		return "stream"
	case sockDgram:
		return "dgram"
	case sockRaw:
		return "raw"
	case 4:
		return "rdm"
	case sockSeqpacket:
		return "seqpacket"
	case 6:
		return "dccp"
	case 10:
		return "packet"
	}
	return "type-" + decimal(typ)
}

// ProtocolName returns the name of a protocol of a family: as protocols(5) has
// it for AF_INET and AF_INET6, as ss(8) has it for AF_NETLINK. Protocols
// without a name are decimal, those of AF_PACKET (an EtherType) hexadecimal.
// It is empty for protocol zero of all families but AF_NETLINK, which is the
// family's default.
func ProtocolName(family, proto uint16) string {
	switch {
	case family == afNetlink:
		return netlinkName(proto)
	case proto == 0:
		return ""
	case family == afInet || family == afInet6:
		return inetName(proto)
	case family == afPacket:
		return "0x" + strconv.FormatUint(uint64(proto), 16)
	}
	return decimal(proto)
}

// NetID returns what ss(8) prints in its column Netid, "tcp", "u_str", "nl";
// the name of the family where ss has none.
func NetID(s Sock) string {
	switch s.Family {
	case afUnix:
		return unixNetID(s.Type)
	case afVsock:
		switch s.Type {
		case sockStream:
			return "v_str"
		case sockDgram:
			return "v_dgr"
		}
	case afNetlink:
		return "nl"
	case afPacket:
		if s.Type == sockRaw {
			return "p_raw"
		}
		return "p_dgr"
	case afInet, afInet6:
		return inetNetID(s)
	}
	return FamilyName(s.Family)
}

func unixNetID(typ uint16) string {
	switch typ {
	case sockStream:
		return "u_str"
	case sockDgram:
		return "u_dgr"
	case sockSeqpacket:
		return "u_seq"
	}
	return FamilyName(afUnix)
}

func inetNetID(s Sock) string {
	switch {
	case s.Type == sockRaw:
		return "raw"
	case s.Protocol == 58: // a ping socket, icmp(7)
		return "icmp6"
	case s.Protocol != 0:
		return ProtocolName(s.Family, s.Protocol)
	case s.Type == sockStream:
		return "tcp"
	case s.Type == sockDgram:
		return "udp"
	}
	return FamilyName(s.Family)
}

// inetName returns the name that protocols(5) gives an IPPROTO_*.
func inetName(proto uint16) string {
	switch proto {
	case 1:
		return "icmp"
	case 2:
		return "igmp"
	case protoTCP:
		return "tcp"
	case 17:
		return "udp"
	case 33:
		return "dccp"
	case 58:
		return "ipv6-icmp"
	case 132:
		return "sctp"
	case 136:
		return "udplite"
	case 255:
		return "raw"
	case 256:
		return "smc"
	case protoMPTCP:
		return "mptcp"
	}
	return decimal(proto)
}

// netlinkName returns the name that nl_protos of iproute2 gives a NETLINK_*.
func netlinkName(proto uint16) string {
	switch proto {
	case 0:
		return "rtnl"
	case 1:
		return "unused"
	case 2:
		return "usersock"
	case 3:
		return "fw"
	case 4:
		return "tcpdiag"
	case 5:
		return "nflog"
	case 6:
		return "xfrm"
	case 7:
		return "selinux"
	case 8:
		return "iscsi"
	case 9:
		return "audit"
	case 10:
		return "fiblookup"
	case 11:
		return "connector"
	case 12:
		return "nft"
	case 13:
		return "ip6fw"
	case 14:
		return "dec-rt"
	case 15:
		return "uevent"
	case 16:
		return "genl"
	case 18:
		return "scsi-trans"
	case 19:
		return "ecryptfs"
	case 20:
		return "rdma"
	case 21:
		return "crypto"
	}
	return decimal(proto)
}

func decimal(n uint16) string {
	return strconv.FormatUint(uint64(n), 10)
}
