package lifecycle

import (
	"fmt"
	"maps"
	"slices"

	"sockleak/internal/event"
)

// check verifies what must hold between any two calls.
func (t *Table) check() error {
	refs := make(map[*Socket]int32)
	for id, f := range t.fds {
		if err := t.checkTable(id, f, refs); err != nil {
			return err
		}
	}
	var live int
	var arrived [arrivals]int
	for inode, s := range t.sockets {
		if s.Inode != inode {
			return fmt.Errorf("socket %d is stored as %d", s.Inode, inode)
		}
		if s.refs != refs[s] {
			return fmt.Errorf("socket %d has refs %d, want %d", inode, s.refs, refs[s])
		}
		if (s.refs > 0) != (s.place == placeLive) || s.place == placeNew {
			return fmt.Errorf("socket %d with refs %d is in place %d", inode, s.refs, s.place)
		}
		if s.refs > 0 {
			live++
			arrived[s.Arrival]++
		}
		delete(refs, s)
	}
	if len(refs) != 0 {
		return fmt.Errorf("%d sockets of descriptors are not stored", len(refs))
	}
	if live != t.live || arrived != t.arrivals {
		return fmt.Errorf("live %d %v, want %d %v", t.live, t.arrivals, live, arrived)
	}
	if got := live + t.winding.n + t.gone.n; got != len(t.sockets) {
		return fmt.Errorf("%d sockets stored, but %d in the lists", len(t.sockets), got)
	}
	for key, p := range t.processes {
		if p.key != key || len(p.tables) == 0 {
			return fmt.Errorf("process %v has key %v, %d tables", key, p.key, len(p.tables))
		}
		for _, f := range p.tables {
			if t.fds[f.id] != f || f.linked(p) == nil {
				return fmt.Errorf("process %v: table %d doesn't know it", key, f.id)
			}
		}
	}
	if err := t.checkOwn(); err != nil {
		return err
	}
	if err := t.winding.check(placeWinding, maxWinding); err != nil {
		return fmt.Errorf("winding: %w", err)
	}
	if err := t.gone.check(placeGone, maxGone); err != nil {
		return fmt.Errorf("gone: %w", err)
	}
	return nil
}

// checkOwn compares what OwnSockets yields with what Sockets does.
func (t *Table) checkOwn() error {
	want := make(map[event.ProcessKey]map[*Socket]int)
	for s, holders := range t.Sockets() {
		p := holders[0].Process
		if slices.ContainsFunc(holders, func(h Holder) bool { return h.Process != p }) {
			continue
		}
		if want[p] == nil {
			want[p] = make(map[*Socket]int)
		}
		want[p][s] = len(holders)
	}
	for p := range t.processes {
		got := make(map[*Socket]int)
		for s, holders := range t.OwnSockets(p) {
			if got[s] != 0 {
				return fmt.Errorf("process %v: its own socket %d comes twice", p, s.Inode)
			}
			got[s] = len(holders)
		}
		if !maps.Equal(got, want[p]) {
			return fmt.Errorf("process %v has %d sockets of its own, want %d", p, len(got), len(want[p]))
		}
	}
	return nil
}

func (t *Table) checkTable(id uint64, f *fdTable, refs map[*Socket]int32) error {
	if f.id != id {
		return fmt.Errorf("table %d is stored as %d", f.id, id)
	}
	if !slices.IsSortedFunc(f.pages, func(a, b page) int { return int(a.number) - int(b.number) }) {
		return fmt.Errorf("table %d: pages out of order", id)
	}
	used := 0
	for _, pg := range f.pages {
		for i := range pg.slots {
			if s := pg.slots[i].sock; s != nil {
				used++
				refs[s]++
			}
		}
	}
	if used != f.used {
		return fmt.Errorf("table %d: used %d, want %d", id, f.used, used)
	}
	if len(f.links) == 0 && used > 0 {
		return fmt.Errorf("table %d: no process", id)
	}
	for i, l := range f.links {
		if t.processes[l.p.key] != l.p || !slices.Contains(l.p.tables, f) {
			return fmt.Errorf("table %d: process %v doesn't know it", id, l.p.key)
		}
		if f.linked(l.p) != &f.links[i] {
			return fmt.Errorf("table %d: process %v twice", id, l.p.key)
		}
	}
	return nil
}

func (q *queue) check(want place, limit int) error {
	n := 0
	var last *Socket
	for s := q.head; s != nil; last, s = s, s.next {
		if s.place != want || s.prev != last {
			return fmt.Errorf("socket %d: place %d, want %d; or prev is wrong", s.Inode, s.place, want)
		}
		n++
	}
	if n != q.n || last != q.tail || n > limit {
		return fmt.Errorf("%d entries, counted %d, limit %d", n, q.n, limit)
	}
	return nil
}
