package probe

func (p *Probe) DbgMisses() map[string]uint64 {
	m := map[string]uint64{}
	o := &p.objects
	for _, h := range hooks() {
		s, _ := h.program(&o.bpfPrograms).Stats()
		m[h.name] = s.RecursionMisses
	}
	s, _ := o.TcpState.Stats()
	m["tcpstate"] = s.RecursionMisses
	s, _ = o.TcpDestroy.Stats()
	m["tcpdestroy"] = s.RecursionMisses
	return m
}
