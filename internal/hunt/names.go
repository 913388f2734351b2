package hunt

import (
	"net/netip"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/hosts"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// maxNames bounds the processes that are remembered by name. Those that have no
// sockets any more go first.
const maxNames = 16384

// described is what was looked up about a process, as a recording keeps it.
type described struct {
	event.ProcessKey
	NSPID     *uint32    `json:"ns_pid,omitempty"`
	Comm      string     `json:"comm"`
	Exe       *string    `json:"exe,omitempty"`
	Start     *time.Time `json:"started,omitempty"`
	Container string     `json:"container,omitempty"`
	// hosts is its /etc/hosts, as it was at the look hostsAt.
	hosts   hosts.Table
	hostsAt uint64
}

// names implements verdict.Names.
type names struct {
	table   *lifecycle.Table
	origins stack.Resolver
	known   map[event.ProcessKey]described
	// resolved is called with every origin that is asked for; a recording
	// keeps them.
	resolved func(event.ProcessKey, uint64, stack.Origin)
	// host looks an address up.
	host func(event.ProcessKey, netip.Addr) string
}

func newNames(t *lifecycle.Table, origins stack.Resolver) *names {
	return &names{
		table: t, origins: origins, known: map[event.ProcessKey]described{},
		resolved: func(event.ProcessKey, uint64, stack.Origin) {},
		host:     func(event.ProcessKey, netip.Addr) string { return "" },
	}
}

// add notes a process.
func (n *names) add(d described) {
	if len(n.known) >= maxNames {
		for key := range n.known {
			if _, live := n.table.Process(key); !live {
				delete(n.known, key)
			}
		}
	}
	n.known[d.ProcessKey] = d
}

// forget lets go of what was looked up about a process. It reports whether there was
// anything.
func (n *names) forget(key event.ProcessKey) bool {
	_, known := n.known[key]
	delete(n.known, key)
	return known
}

// keep remembers at least the name of a process that ends.
func (n *names) keep(key event.ProcessKey, comm string) {
	d := n.known[key]
	d.ProcessKey, d.Comm = key, comm
	n.add(d)
}

// Process implements verdict.Names.
func (n *names) Process(key event.ProcessKey) verdict.Process {
	d := n.known[key]
	if d.Comm == "" {
		p, _ := n.table.Process(key)
		d.Comm = p.Comm
	}
	return verdict.Process{
		PID: key.PID, NSPID: d.NSPID, Comm: d.Comm, Exe: d.Exe, Start: d.Start, Container: d.Container,
	}
}

// Host implements verdict.Names.
func (n *names) Host(p event.ProcessKey, address netip.Addr) string { return n.host(p, address) }

// Origin implements verdict.Names.
func (n *names) Origin(p event.ProcessKey, id uint64) stack.Origin {
	o := n.origins.Resolve(p, id)
	n.resolved(p, id, o)
	return o
}
