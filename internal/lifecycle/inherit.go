package lifecycle

import "sockleak/internal/event"

// fork applies the making of a process, which shares its parent's table or
// gets a copy.
func (t *Table) fork(e *event.Event) {
	child := event.ProcessKey{PID: e.ChildPID, Start: e.ChildStart}
	if _, gone := t.exited.get(child); gone {
		return
	}
	if e.Table2 == e.Table {
		// Noted even while the table is empty: the one may leave it while the
		// other goes on to use what was opened since.
		f, _ := t.enter(e)
		if e.Time >= t.snap.complete || f.shown < t.snap.complete {
			t.link(f, child, e.Time).name(&e.Comm, false)
		}
		return
	}
	from := t.fds[e.Table]
	if from != nil {
		t.enter(e)
	}
	to := t.copyTable(e.Table2, from, child, e.Time, nothing)
	if p := t.processes[child]; p != nil {
		p.name(&e.Comm, false)
	}
	if to == nil {
		return
	}
	to.each(func(_ *fdTable, fd int32, sl *slot) bool {
		// A snapshot may have shown what was made and copied before these events were
		// applied: the first one, what was since the hooks were there; any other, if the
		// kernel held up the program that sends this. Then the parent has it, or had.
		shown := sl.via == ViaPreexisting || sl.via == ViaReceived && from != nil && from.had(fd, sl.sock)
		made := sl.sock.Birth != 0 && sl.sock.Birth <= e.Time
		if !sl.holdsAt(e.Time) || shown && made {
			sl.since, sl.via = e.Time, ViaFork
		}
		return true
	})
}

// unshare applies unshare(CLONE_FILES). A process with several threads keeps
// the old table as well: the others may use it, and TableExit or a snapshot
// tells if not.
func (t *Table) unshare(e *event.Event) {
	key := event.ProcessKey{PID: e.PID, Start: e.Start}
	t.copyTable(e.Table, t.fds[e.Table2], key, e.Time, nothing)
	t.part(e)
}

// part makes a process that has only one thread leave the table which that
// thread left.
func (t *Table) part(e *event.Event) {
	p, old := t.processes[event.ProcessKey{PID: e.PID, Start: e.Start}], t.fds[e.Table2]
	if !e.Alone || p == nil || old == nil {
		return
	}
	if l := old.linked(p); l != nil && l.seen <= e.Time {
		t.enter(e) // or a process without sockets would be forgotten here
		p.settled = e.Time
		t.leave(old, p, e.Time)
	}
}

// span is a range of descriptor numbers, both ends inclusive.
type span struct{ first, last int32 }

// nothing is the empty span.
var nothing = span{0, -1}

// copyTable defines the table id, used by one process, as a copy of another
// without the descriptors in a span. It returns nil if there is nothing to
// keep of it. from may be nil: a table that isn't known.
func (t *Table) copyTable(id uint64, from *fdTable, key event.ProcessKey, time uint64, without span) *fdTable {
	if from != nil && from.id == id {
		return nil
	}
	to := t.fds[id]
	if to != nil {
		t.retire(to, time, time)
		to = t.fds[id]
	} else {
		t.dropped.put(id, time)
	}
	if from == nil || from.used == 0 || time < t.snap.complete {
		// An empty table is made when it is first used, and after a newer
		// snapshot this one holds what that showed.
		return to
	}
	if to == nil {
		to = t.newTable(id, time)
	}
	to.born, to.touched = time, time
	t.link(to, key, time)
	for _, pg := range from.pages {
		t.copyPage(to, pg, time, without)
	}
	return to
}

// copyPage copies the descriptors of one page that were there at the time.
func (t *Table) copyPage(to *fdTable, from page, time uint64, without span) {
	var slots *[pageSize]slot
	base := from.number << pageShift
	for i := range from.slots {
		sl := &from.slots[i]
		fd := base + int32(i)
		if sl.sock == nil || sl.since > time || fd >= without.first && fd <= without.last {
			continue
		}
		if slots == nil {
			slots = to.ensure(from.number, &t.pages)
		}
		if slots[i].holdsAt(time) {
			continue
		}
		slots[i] = *sl
		slots[i].flags &^= byRow
		to.used++
		t.retain(sl.sock)
	}
}

// exec applies the start of another program: the process is left with one
// thread and one table, which is a copy if the old one was shared.
func (t *Table) exec(e *event.Event) {
	key := event.ProcessKey{PID: e.PID, Start: e.Start}
	if e.Table2 != e.Table {
		t.copyTable(e.Table, t.fds[e.Table2], key, e.Time, nothing)
	}
	t.sweep(e)
	p := t.processes[key]
	if p == nil {
		return
	}
	t.enter(e) // or a process without sockets would be forgotten below
	p.comm, p.named, p.settled = e.Comm, true, e.Time
	for i := len(p.tables) - 1; i >= 0; i-- {
		f := p.tables[i]
		if f.id != e.Table && f.linked(p).seen <= e.Time {
			t.leave(f, p, e.Time)
		}
	}
	if f := t.fds[e.Table]; f != nil {
		f.each(func(_ *fdTable, _ int32, sl *slot) bool {
			if sl.since <= e.Time {
				sl.flags |= survivedExec
			}
			return true
		})
	}
}

// execFDs closes what an exec closed.
func (t *Table) execFDs(e *event.Event) {
	f := t.fds[e.Table]
	if f == nil {
		return
	}
	f.touched = e.Time
	f.within(e.FD, e.FD2, func(fd int32, sl *slot) {
		bit := int64(fd) - int64(e.FD)
		open := bit>>3 < int64(len(e.OpenFDs)) && e.OpenFDs[bit>>3]&(1<<(bit&7)) != 0
		if !open && !sl.holdsAt(e.Time) {
			t.empty(f, sl, e.Time)
		}
	})
}

// exit applies the end of a process. It comes before the kernel releases the
// descriptors, so no row can gainsay it.
func (t *Table) exit(e *event.Event) {
	key := event.ProcessKey{PID: e.PID, Start: e.Start}
	t.exited.put(key, struct{}{})
	p := t.processes[key]
	if p == nil {
		return
	}
	for i := len(p.tables) - 1; i >= 0; i-- {
		t.leave(p.tables[i], p, e.Time)
	}
}

// tableExit applies the end of a table. Its id may name another one at once: a
// row of another process, or one that is much newer, speaks of that.
func (t *Table) tableExit(e *event.Event) {
	f := t.fds[e.Table]
	if f == nil {
		t.dropped.put(e.Table, e.Time+closing)
		return
	}
	if p := t.processes[event.ProcessKey{PID: e.PID, Start: e.Start}]; p != nil {
		if l := f.linked(p); l != nil && l.seen < e.Time+closing {
			t.leave(f, p, e.Time)
			if t.fds[e.Table] == nil {
				t.dropped.put(e.Table, e.Time+closing)
				return
			}
		}
	}
	t.retire(f, e.Time, e.Time+closing)
}

// closeRange applies close_range(2). What was installed while the call ran may
// have been closed by it or not.
func (t *Table) closeRange(e *event.Event) {
	if e.Table2 != e.Table && e.Table2 != 0 {
		without := span{e.FD, e.FD2}
		if e.CloseOnExec {
			without = nothing
		}
		from := t.fds[e.Table2]
		to := t.copyTable(e.Table, from, event.ProcessKey{PID: e.PID, Start: e.Start}, e.Time, without)
		if to != nil {
			to.each(func(_ *fdTable, _ int32, sl *slot) bool {
				if sl.since > e.Begin {
					to.doubtful = e.Time
				}
				return true
			})
		}
		t.part(e)
		return
	}
	if e.CloseOnExec {
		return
	}
	t.sweep(e)
	f := t.fds[e.Table]
	if f == nil {
		return
	}
	f.touched = e.Time
	f.within(e.FD, e.FD2, func(_ int32, sl *slot) {
		switch {
		case sl.holdsAt(e.Time):
		case sl.since > e.Begin:
			f.doubtful = e.Time
		default:
			t.empty(f, sl, e.Time)
		}
	})
}

// sweep notes that many descriptors of a table are closed at once, some of
// which may not be known: an older row must not bring them back.
func (t *Table) sweep(e *event.Event) {
	f := t.fds[e.Table]
	if f == nil {
		if t.snap.merged {
			return // it has no sockets
		}
		f, _ = t.enter(e)
	}
	f.swept = e.Time
}
