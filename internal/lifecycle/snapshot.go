package lifecycle

import "sockleak/internal/event"

// snapshot is the state of the merge of one.
type snapshot struct {
	start    uint64 // of the one being merged, or merged last
	complete uint64 // start of the last one that was merged to its end
	merged   bool   // one was merged to its end
	repair   Repair
	refused  uint64 // rows of it that the ceiling kept out
}

// Repair counts the descriptors that a snapshot had to correct. After the
// first, it is zero if no event was lost, sockets were passed only by calls
// that make events, and all events up to the end of the snapshot were applied
// before it was merged.
type Repair struct {
	Added   int // shown by the snapshot and not in the table; zero for the first snapshot
	Removed int // in the table and not shown
	Changed int // shown with another socket
}

// BeginSnapshot begins to merge a snapshot whose first row was read at the
// time start, in ns of CLOCK_MONOTONIC, or later. A snapshot that was begun
// and not ended is abandoned; its rows stand, and nothing is removed.
//
// A snapshot is best merged when all events up to its end are applied. Merged
// before those that were made while it was taken, the table may be wrong until
// the next snapshot where a table's id was reused, or a shared table shown
// twice, in its midst.
func (t *Table) BeginSnapshot(start uint64) {
	t.snap.start = start
	t.snap.repair = Repair{}
	t.snap.refused = 0
}

// Row merges one row. Rows of processes that are not to be watched are the
// caller's to leave out, except those of a socket that is Known.
func (t *Table) Row(r *event.Row) {
	if r.Inode == 0 || r.FD < 0 {
		return
	}
	f, s := t.rowTable(r), t.sockets[r.Inode]
	if s != nil && r.Time < s.Birth {
		return // of an earlier socket with this inode number
	}
	if f != nil {
		s = t.show(f, r, s)
	}
	if s != nil && r.Time > s.Seen {
		s.observe(r)
	}
}

// rowTable returns the table that a row is of, or nil if what it says is old
// news.
func (t *Table) rowTable(r *event.Row) *fdTable {
	key := event.ProcessKey{PID: r.PID, Start: r.Start}
	if _, gone := t.exited.get(key); gone {
		return nil
	}
	f, p := t.fds[r.Table], t.processes[key]
	if f == nil {
		if until, ok := t.dropped.get(r.Table); ok && r.Time <= until {
			return nil
		}
	} else if r.Time <= f.born {
		return nil
	}
	if p != nil && r.Time <= p.settled && (f == nil || f.linked(p) == nil) {
		return nil // it has left this table
	}
	if f == nil {
		f = t.newTable(r.Table, r.Time)
	}
	p = t.link(f, key, r.Time)
	p.name(&r.Comm, false)
	l := f.linked(p)
	l.seen = max(l.seen, r.Time)
	f.shown = max(f.shown, r.Time)
	return f
}

// show merges what a row says of a descriptor and returns its socket, which is
// nil if it isn't stored.
func (t *Table) show(f *fdTable, r *event.Row, s *Socket) *Socket {
	sl := f.slot(r.FD, &t.pages)
	if r.Time <= sl.asOf {
		return s
	}
	if s == nil || sl.sock != s {
		if r.Time <= f.swept {
			return s // it may have been closed since
		}
		if sl.sock == nil && sl.gone == uint32(r.Inode) && r.Time-sl.asOf < closing {
			return s // its close was announced and is about to take effect
		}
		if s == nil {
			if s = t.add(r.Inode, t.unseenArrival()); s == nil {
				t.snap.refused++
				if sl.sock != nil {
					t.snap.repair.Removed++
					t.empty(f, sl, r.Time)
				}
				return nil
			}
		}
		t.correct(f, sl, r.Time, s)
	}
	sl.asOf = r.Time
	sl.flags |= byRow
	if r.Facts.Known&event.KnownDescriptor != 0 {
		sl.flags = sl.flags&^closeOnExec | knownCloexec
		if r.Facts.CloseOnExec {
			sl.flags |= closeOnExec
		}
	}
	return s
}

// correct makes a slot refer to the socket that a row showed in it.
func (t *Table) correct(f *fdTable, sl *slot, time uint64, s *Socket) {
	via := ViaReceived
	if sl.sock != nil {
		t.empty(f, sl, time)
		t.snap.repair.Changed++
	} else if t.snap.merged {
		t.snap.repair.Added++
	}
	if !t.snap.merged {
		via = ViaPreexisting
	}
	*sl = slot{sock: s, since: time, via: via}
	f.used++
	t.retain(s)
}

// EndSnapshot ends a merge, with the time after the last row was read: what
// was in the table before the snapshot began, and was not shown, is gone.
func (t *Table) EndSnapshot(end uint64) Repair {
	start := t.snap.start
	for _, f := range t.fds {
		t.reconcile(f, start)
	}
	for t.winding.n > 0 && t.winding.head.Closed+windingTime < end {
		t.remember(t.winding.pop())
	}
	t.snap.complete, t.snap.merged = start, true
	t.full = max(t.full, t.snap.refused)
	r := t.snap.repair
	t.repaired += uint64(r.Added + r.Removed + r.Changed)
	return r
}

// reconcile removes from a table what a snapshot that began at start did not
// show, and the table if it is of no more use.
func (t *Table) reconcile(f *fdTable, start uint64) {
	shown := f.shown >= start
	if shown || f.born < start {
		for _, pg := range f.pages {
			for i := range pg.slots {
				if sl := &pg.slots[i]; sl.sock != nil && sl.asOf < start {
					t.empty(f, sl, start)
					t.snap.repair.Removed++
				}
			}
		}
	}
	if shown {
		for i := 0; i < len(f.links); {
			if l := f.links[i]; l.seen >= start || l.since >= start {
				i++
			} else {
				t.unlink(f, l.p)
			}
		}
	}
	if f.doubtful < start {
		f.doubtful = 0
	}
	// Who shares an empty table can't be learned again.
	if len(f.links) == 0 || f.used == 0 && len(f.links) == 1 && f.touched < start {
		t.drop(f, start, start)
	}
}
