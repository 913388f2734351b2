package hunt

import (
	"fmt"
	"net/netip"

	"sockleak/internal/event"
	"sockleak/internal/hosts"
)

// hostsOf returns the names in a process's /etc/hosts. Without one, or without the
// right to read it, addresses have no names.
func (l *live) hostsOf(key event.ProcessKey) hosts.Table {
	t, err := l.hosts.Below(fmt.Sprintf("/proc/%d/root", key.PID))
	if err != nil {
		return nil
	}
	return t
}

// host names an address as a process does. The file is looked at once in each look
// that finds something: it may have changed. A process that has ended keeps the
// names it had.
func (l *live) host(key event.ProcessKey, address netip.Addr) string {
	d, known := l.engine.names.known[key]
	if !known {
		return ""
	}
	if now := l.engine.last.Time; d.hostsAt != now {
		d.hostsAt = now
		if info, err := l.fs.Process(key.PID); err == nil && info.StartedAt(key.Start) {
			if t := l.hostsOf(key); t != nil {
				d.hosts = t
			}
		}
		l.engine.names.known[key] = d
	}
	name := d.hosts.Name(address)
	l.rec.host(key, address, name)
	return name
}
