package lifecycle

import "sockleak/internal/event"

// create applies the birth of a socket.
func (t *Table) create(e *event.Event, how Creation) {
	f, p := t.enter(e)
	if e.Inode == 0 {
		t.vacate(f, e.FD, e.Time)
		return
	}
	s := t.sockets[e.Inode]
	fresh := s == nil || s.Birth != e.Time
	switch {
	case s == nil:
		s = t.add(e.Inode, Created)
	case !fresh:
	case s.refs == 0:
		t.unqueue(s)
		t.forget(s)
		s = t.add(e.Inode, Created)
	case s.Birth == 0 && (s.Seen >= e.Time || refersTo(f, e.FD, s)):
		// A snapshot was first to show this very socket. The row may be older
		// than the event, which is made when the call returns.
		t.setArrival(s, Created)
	case s.Birth < e.Time:
		t.supersede(s, e.Time)
	default:
		return // the birth of a socket that this one has followed
	}
	if s == nil {
		t.full++
		t.vacate(f, e.FD, e.Time)
		return
	}
	if fresh {
		t.opened++
		if p != nil {
			p.opened++
		}
		s.born(e, how)
		s.Thread = t.threads.number(&e.Thread)
	}
	t.install(f, e.FD, s, e.Time, ViaCreated)
	t.settle(s, e.Time)
}

func refersTo(f *fdTable, fd int32, s *Socket) bool {
	sl := f.find(fd)
	return sl != nil && sl.sock == s
}

// unqueue takes a socket without descriptors off its queue.
func (t *Table) unqueue(s *Socket) {
	if s.place == placeWinding {
		t.winding.remove(s)
	} else {
		t.gone.remove(s)
	}
	s.place = placeNew
}

// supersede ends a live socket whose inode number was given to a new one at
// the time given, and makes way for that in its place. Its descriptors went
// unseen, except those that a row showed later, which are the new socket's.
// It looks at every descriptor, but is needed only after a loss.
func (t *Table) supersede(s *Socket, time uint64) {
	for _, f := range t.fds {
		for _, pg := range f.pages {
			for i := range pg.slots {
				if sl := &pg.slots[i]; sl.sock == s && !sl.holdsAt(time) {
					*sl = slot{asOf: time}
					f.used--
					s.refs--
					t.repaired++
				}
			}
		}
	}
	t.closed++
	t.arrivals[s.Arrival]--
	next := Socket{Inode: s.Inode, refs: s.refs}
	if s.Seen >= time {
		next.Sock, next.Facts, next.Seen, next.StateSeen = s.Sock, s.Facts, s.Seen, s.StateSeen
	}
	if s.refs > 0 {
		next.place = placeLive
		t.arrivals[Created]++
	} else {
		t.live--
	}
	*s = next
}

// dup applies dup and its kin.
func (t *Table) dup(e *event.Event) {
	f, _ := t.enter(e)
	if e.Inode == 0 {
		t.vacate(f, e.FD, e.Time)
		return
	}
	s := t.sockets[e.Inode]
	if s == nil {
		if s = t.add(e.Inode, t.unseenArrival()); s == nil {
			t.full++
			t.vacate(f, e.FD, e.Time)
			return
		}
	}
	t.install(f, e.FD, s, e.Time, ViaDup)
	t.settle(s, e.Time)
}

// close applies close(2), which is announced before it takes effect: a row
// that shows the same socket a moment later doesn't gainsay it.
func (t *Table) close(e *event.Event) {
	if e.FD < 0 {
		return
	}
	f, _ := t.enter(e)
	sl := f.slot(e.FD, &t.pages)
	same := sl.sock != nil && sl.sock.Inode == e.Inode
	switch {
	case sl.holdsAt(e.Time) && !(same && sl.asOf-e.Time < closing):
	case sl.sock == nil:
		// Kept to refuse older rows that still show it.
		*sl = slot{asOf: e.Time, gone: uint32(e.Inode)}
	case !same && sl.since > e.Time:
		// The number was given away again before this event came.
	default:
		t.empty(f, sl, e.Time)
	}
}

// install makes fd refer to s, unless newer news is known.
func (t *Table) install(f *fdTable, fd int32, s *Socket, time uint64, via Via) {
	if fd < 0 {
		return
	}
	sl := f.slot(fd, &t.pages)
	if sl.holdsAt(time) {
		if sl.sock == s {
			sl.since, sl.via = time, via
		}
		return
	}
	if sl.sock == s {
		sl.since, sl.asOf, sl.via = time, time, via
		sl.flags = 0
		return
	}
	if t.outdated(sl, s, time) {
		return
	}
	if sl.sock != nil {
		t.empty(f, sl, time)
	}
	*sl = slot{sock: s, since: time, asOf: time, via: via}
	f.used++
	t.retain(s)
}

// outdated reports whether the last snapshot began after the event, and so
// would have shown the descriptor if it were still there. It wouldn't have
// been believed if close had only just announced the end of the same socket.
func (t *Table) outdated(sl *slot, s *Socket, time uint64) bool {
	if time >= t.snap.complete {
		return false
	}
	reopened := sl.sock == nil && sl.gone == uint32(s.Inode) && sl.asOf <= time && t.snap.complete-sl.asOf < closing
	return !reopened
}

// vacate notes that fd refers to no socket, unless newer news is known.
func (t *Table) vacate(f *fdTable, fd int32, time uint64) {
	if fd < 0 {
		return
	}
	sl := f.slot(fd, &t.pages)
	switch {
	case sl.holdsAt(time):
	case sl.sock != nil:
		t.empty(f, sl, time)
	default:
		*sl = slot{asOf: time, gone: sl.gone}
	}
}

// empty closes a descriptor that refers to a socket.
func (t *Table) empty(f *fdTable, sl *slot, time uint64) {
	s := sl.sock
	*sl = slot{asOf: time, gone: uint32(s.Inode)}
	f.used--
	t.release(s, time)
}
