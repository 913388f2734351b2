package verdict

import "sockleak/internal/event"

func (j *Judge) socket(m *member, names Names) Socket {
	s := Socket{
		Inode:    m.Inode,
		Family:   event.FamilyName(m.Sock.Family),
		Type:     event.TypeName(m.Sock.Type),
		Protocol: event.ProtocolName(m.Sock.Family, m.Sock.Protocol),
		State:    event.StateName(m.Sock),
		Holders:  []Holder{},
	}
	now := j.looked
	if m.ended != 0 {
		now = m.ended
	}
	if m.Birth != 0 {
		s.Age = seconds(now - min(now, m.Birth))
	}
	if m.Sock.Local.IsValid() {
		s.Local = pointer(m.Sock.Local.String())
	}
	if p := peer(&m.Socket); p.IsValid() {
		s.Remote = pointer(p.String())
	}
	if m.ended == 0 && m.Seen != 0 {
		facts(&s, &m.Facts)
	}
	for _, h := range m.holders {
		s.Holders = append(s.Holders, Holder{PID: h.Process.PID, FD: h.FD, Comm: names.Process(h.Process).Comm})
	}
	return s
}

// facts fills in what the last snapshot knew.
func facts(s *Socket, f *event.Facts) {
	if f.NetNS != 0 {
		s.NetNS = pointer(f.NetNS)
	}
	if f.Known&event.KnownQueues != 0 {
		s.RecvQ, s.SendQ = pointer(f.RecvQ), pointer(f.SendQ)
	}
	if f.Known&event.KnownDelivery != 0 {
		s.Unacked, s.Retransmits, s.Probes = pointer(f.Unacked), pointer(f.Retransmits), pointer(f.Probes)
	}
	names := f.UnixNames()
	if names.Local != "" {
		s.Local = pointer(names.Local)
	}
	if names.Remote != "" {
		s.Remote = pointer(names.Remote)
	}
	if f.Known&event.KnownPeer != 0 {
		s.PeerGone = pointer(f.PeerGone)
	}
	s.RcvShutdown, s.SndShutdown = pointer(f.RcvShutdown), pointer(f.SndShutdown)
	if f.Known&event.KnownActivity != 0 {
		s.LastRx, s.LastTx = seconds(f.LastRx), seconds(f.LastTx)
	}
	if f.Known&event.KnownBytes != 0 {
		s.BytesIn, s.BytesOut = pointer(f.BytesIn), pointer(f.BytesOut)
	}
	if f.Known&event.KnownKeepAlive != 0 {
		s.KeepAlive = pointer(f.KeepAlive)
	}
	if f.Known&event.KnownDescriptor != 0 {
		s.CloseOnExec = pointer(f.CloseOnExec)
	}
	if f.Known&event.KnownWaiters != 0 {
		s.WaitedOn = pointer(f.Waiters)
	}
}

func pointer[T any](v T) *T { return &v }

// seconds converts ns, rounded to ms: more is noise.
func seconds(ns uint64) *float64 {
	return pointer(float64(ns/1e6) / 1e3)
}
