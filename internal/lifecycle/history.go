package lifecycle

import (
	"net/netip"

	"sockleak/internal/event"
)

// Error numbers of Linux on amd64 and arm64, and address families and
// protocols that matter here: the package builds everywhere.
const (
	eintr       = 4
	eisconn     = 106
	ealready    = 114
	einprogress = 115

	afInet  = 2
	afInet6 = 10

	protocolTCP   = 6
	protocolMPTCP = 262
)

// inet reports whether the socket is of TCP's families.
func (s *Socket) inet() bool {
	return s.Sock.Family == afInet || s.Sock.Family == afInet6
}

// winds reports whether the kernel holds the socket on after its last
// descriptor went, to finish the connection.
func (s *Socket) winds() bool {
	tcp := s.Sock.Protocol == protocolTCP || s.Sock.Protocol == protocolMPTCP
	return tcp && s.inet() && !s.Destroyed && s.Sock.State != event.StateClose
}

// stateAsOf is the time of the newest news about the socket's state.
func (s *Socket) stateAsOf() uint64 { return max(s.StateSince, s.Seen) }

// setState notes a change of state that happened at the time given; zero if
// that isn't known.
func (s *Socket) setState(state uint8, since uint64) {
	s.Listened = s.Listened || s.Sock.State == event.StateListen && state == event.StateClose
	s.Sock.State = state
	s.StateSince, s.StateSeen = since, 0
	switch state {
	case event.StateSynSent:
		s.Connecting = since
		s.Errno = 0
	case event.StateEstablished:
		s.Established = true
		s.Connecting, s.Errno = 0, 0
	default:
		s.Connecting = 0
	}
}

// addresses takes over the addresses that are known: a TCP socket that went to
// CLOSE has none, and the report is to say whom it talked to.
func (s *Socket) addresses(local, remote netip.AddrPort) {
	if local.IsValid() {
		s.Sock.Local = local
	}
	if remote.IsValid() {
		s.Sock.Remote = remote
	}
}

// born fills in what the creation of a socket tells.
func (s *Socket) born(e *event.Event, how Creation) {
	s.Birth, s.Stack, s.Other = e.Time, e.Stack, e.Inode2
	if e.Spared {
		s.Lack = event.LackSpared
	}
	s.Creator = event.ProcessKey{PID: e.PID, Start: e.Start}
	s.Kind = how
	if s.Seen < e.Time {
		s.Sock = e.Sock
		s.setState(e.Sock.State, e.Time)
	} else {
		local, remote := s.Sock.Local, s.Sock.Remote
		s.addresses(e.Sock.Local, e.Sock.Remote)
		s.addresses(local, remote)
		if e.Sock.State == s.Sock.State && s.StateSince == 0 {
			s.StateSince = e.Time
		}
	}
	if how == ByPair || how == ByAccept {
		s.Established = true
	}
}

// connect applies the return of connect(2). It says what the program asked for
// and was told; whether TCP is connected is for the states to say, because the
// handshake often ends before the call does.
func (t *Table) connect(e *event.Event) {
	s := t.sockets[e.Inode]
	if s == nil || e.Time < s.Birth {
		return
	}
	disconnect := s.inet() && !e.Sock.Remote.IsValid() && e.Errno == 0
	if !disconnect && e.Errno != ealready && e.Errno != eisconn {
		s.Attempts = max(s.Attempts, s.Attempts+1) // which wraps to zero
		s.Asked = e.Sock.Remote
	}
	news := e.Time > s.stateAsOf()
	if news {
		if s.Sock.Family == 0 {
			s.Sock.Family, s.Sock.Type, s.Sock.Protocol = e.Sock.Family, e.Sock.Type, e.Sock.Protocol
		}
		if e.Sock.State != 0 && e.Sock.State != s.Sock.State {
			s.setState(e.Sock.State, e.Time)
		}
		s.addresses(e.Sock.Local, e.Sock.Remote)
	} else if !s.Sock.Remote.IsValid() {
		s.Sock.Remote = e.Sock.Remote
	}
	switch e.Errno {
	case 0, eisconn:
		if !disconnect {
			s.Established = true
		}
		s.ConnectErrno = 0
	case einprogress, ealready, eintr:
		if s.Sock.State == event.StateSynSent {
			s.ConnectErrno = einprogress
			if s.Connecting == 0 && news {
				s.Connecting = e.Time
			}
		}
	default:
		s.ConnectErrno = e.Errno
	}
}

// tcpState applies a change of state.
func (t *Table) tcpState(e *event.Event) {
	s := t.sockets[e.Inode]
	if s == nil || e.Time < s.Birth {
		return
	}
	if s.Sock.Protocol == protocolMPTCP && e.Sock.Protocol != protocolMPTCP {
		return // of a subflow, a kernel socket with the inode number of its parent
	}
	if e.NewState == event.StateEstablished {
		s.Established = true
	}
	if e.OldState == event.StateListen && e.NewState == event.StateClose {
		s.Listened = true
	}
	if e.OldState == event.StateSynSent {
		// How a connect that was left in progress ended.
		if e.NewState == event.StateEstablished {
			s.ConnectErrno = 0
		} else if e.Errno != 0 {
			s.ConnectErrno = e.Errno
		}
	}
	if s.Seen < e.Time {
		s.setState(e.NewState, e.Time)
		s.addresses(e.Sock.Local, e.Sock.Remote)
	} else {
		s.lateState(e)
	}
	if e.NewState == event.StateClose && s.Sock.State == event.StateClose && e.Errno != 0 {
		s.Errno = e.Errno
	}
	if s.place == placeWinding && !s.winds() {
		t.winding.remove(s)
		t.remember(s)
	}
}

// lateState takes what it can from a change of state that a snapshot row is
// newer than.
func (s *Socket) lateState(e *event.Event) {
	local, remote := s.Sock.Local, s.Sock.Remote
	s.addresses(e.Sock.Local, e.Sock.Remote)
	s.addresses(local, remote)
	if e.NewState == s.Sock.State {
		s.StateSince = max(s.StateSince, e.Time)
		if e.NewState == event.StateSynSent {
			s.Connecting = s.StateSince
		}
	}
}

// tcpDestroy applies the end of a TCP socket in the kernel.
func (t *Table) tcpDestroy(e *event.Event) {
	s := t.sockets[e.Inode]
	if s == nil || e.Time < s.Birth || s.Sock.Protocol == protocolMPTCP {
		return // for MPTCP it tells of a subflow
	}
	s.Destroyed = true
	if s.place == placeWinding {
		t.winding.remove(s)
		t.remember(s)
	}
}

// observe takes over what a snapshot row says of the socket itself.
func (s *Socket) observe(r *event.Row) {
	if r.Time >= s.StateSince {
		state := s.Sock.State
		local, remote := s.Sock.Local, s.Sock.Remote
		s.Sock = r.Sock
		s.Sock.State, s.Sock.Local, s.Sock.Remote = state, local, remote
		s.addresses(r.Sock.Local, r.Sock.Remote)
		if r.Sock.State != state {
			s.setState(r.Sock.State, 0)
		}
		if s.StateSeen == 0 {
			s.StateSeen = r.Time
		}
		if s.Sock.State == event.StateSynSent && s.Connecting == 0 {
			s.Connecting = r.Time
		}
	} else if s.Sock.Family == 0 {
		s.Sock.Family, s.Sock.Type, s.Sock.Protocol = r.Sock.Family, r.Sock.Type, r.Sock.Protocol
	}
	s.Seen, s.Facts = r.Time, r.Facts
	if r.Facts.Known&event.KnownHistory != 0 && r.Facts.WasEstablished {
		s.Established = true
	}
	if s.Sock.State == event.StateClose && s.Errno == 0 {
		s.Errno = r.Facts.Err
	}
}
