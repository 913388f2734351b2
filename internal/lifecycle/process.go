package lifecycle

import (
	"slices"

	"sockleak/internal/event"
)

// process is a process that uses a table which we keep.
type process struct {
	key    event.ProcessKey
	comm   [16]byte
	named  bool // comm is that of its main thread
	tables []*fdTable
	opened uint64
	// settled is when it was last left with one thread and one table: older
	// rows that show another are old news.
	settled uint64
}

// name learns the name of a process from one of its threads. Not every event
// carries one.
func (p *process) name(comm *[16]byte, main bool) {
	if comm[0] != 0 && (main || !p.named) {
		p.comm, p.named = *comm, main
	}
}

// descriptor is one of a socket.
type descriptor struct {
	table *fdTable
	fd    int32
	slot  *slot
}

// own returns the descriptors of those sockets that no other process has one of. It
// takes the process's own from the count of each socket and gives them back: a map
// would cost a helper that inherits thousands of sockets more than its fork.
func (p *process) own() []descriptor {
	each := func(do func(d descriptor)) {
		for _, f := range p.tables {
			if len(f.links) > 1 || f.used == 0 {
				continue
			}
			f.each(func(f *fdTable, fd int32, sl *slot) bool {
				do(descriptor{f, fd, sl})
				return true
			})
		}
	}
	var own []descriptor
	each(func(d descriptor) { d.slot.sock.refs-- })
	each(func(d descriptor) {
		if d.slot.sock.refs == 0 {
			own = append(own, d)
		}
	})
	each(func(d descriptor) { d.slot.sock.refs++ })
	return own
}

// enter returns the table and the process that an event speaks of, and makes
// them if they are new. The process is nil if it is not known and a newer
// snapshot that showed the table didn't show the process use it.
func (t *Table) enter(e *event.Event) (*fdTable, *process) {
	f := t.fds[e.Table]
	if f == nil {
		f = t.newTable(e.Table, e.Time)
	}
	f.touched = e.Time
	key := event.ProcessKey{PID: e.PID, Start: e.Start}
	var p *process
	switch {
	case len(f.links) > 0 && f.links[0].p.key == key:
		p = f.links[0].p
	case e.Time < t.snap.complete && f.shown >= t.snap.complete:
		p = t.processes[key]
	default:
		p = t.link(f, key, e.Time)
	}
	if p != nil {
		p.name(&e.Comm, e.TID == e.PID)
	}
	return f, p
}

// newTable makes an empty table. If one with this id was dropped, rows from
// before that are not of this one.
func (t *Table) newTable(id, time uint64) *fdTable {
	f := t.pages.table(id, time)
	if until, ok := t.dropped.get(id); ok {
		f.born = min(until, time)
	}
	t.fds[id] = f
	return f
}

// link notes that a process uses a table.
func (t *Table) link(f *fdTable, key event.ProcessKey, time uint64) *process {
	p := t.processes[key]
	if p == nil {
		p = &process{key: key}
		t.processes[key] = p
	}
	if f.linked(p) == nil {
		f.links = append(f.links, link{p: p, since: time})
		p.tables = append(p.tables, f)
	}
	return p
}

// unlink notes that a process no longer uses a table. A process that uses none
// is forgotten; a table that no process uses is left to the caller.
func (t *Table) unlink(f *fdTable, p *process) {
	f.links = slices.DeleteFunc(f.links, func(l link) bool { return l.p == p })
	p.tables = slices.DeleteFunc(p.tables, func(other *fdTable) bool { return other == f })
	if len(p.tables) == 0 {
		delete(t.processes, p.key)
	}
}

// leave unlinks a process from a table, which goes with its last process.
func (t *Table) leave(f *fdTable, p *process, time uint64) {
	t.unlink(f, p)
	if len(f.links) == 0 {
		t.drop(f, time, time)
	}
}

// drop ends a table and its descriptors at the time given. Snapshot rows of
// it, up to the time until, are old news.
func (t *Table) drop(f *fdTable, time, until uint64) {
	for len(f.links) > 0 {
		t.unlink(f, f.links[0].p)
	}
	for _, pg := range f.pages {
		for i := range pg.slots {
			if pg.slots[i].sock != nil {
				t.empty(f, &pg.slots[i], time)
			}
		}
	}
	delete(t.fds, f.id)
	t.dropped.put(f.id, until)
	t.pages.put(f)
}

// retire ends what is known of a table as of a time: its id now names another
// one, or none. What a row showed later is kept, and with it the table;
// without that it is dropped.
func (t *Table) retire(f *fdTable, time, until uint64) {
	for i := 0; i < len(f.links); {
		if l := f.links[i]; l.since > time || l.seen > time {
			i++
		} else {
			t.unlink(f, l.p)
		}
	}
	if len(f.links) == 0 {
		t.drop(f, time, until)
		return
	}
	for _, pg := range f.pages {
		for i := range pg.slots {
			if sl := &pg.slots[i]; sl.sock != nil && !sl.holdsAt(time) {
				t.empty(f, sl, time)
			}
		}
	}
}
