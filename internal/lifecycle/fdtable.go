package lifecycle

import "slices"

// Via says how the processes of a descriptor table came by a descriptor.
type Via uint8

// The ways to get a descriptor.
const (
	ViaCreated     Via = iota // socket, socketpair or accept
	ViaDup                    // dup, dup2, dup3, fcntl(F_DUPFD*)
	ViaFork                   // copied from the parent
	ViaPreexisting            // there when tracing began
	ViaReceived               // found by a later snapshot, see Received
)

// slotFlags are facts about a descriptor.
type slotFlags uint8

const (
	byRow        slotFlags = 1 << iota // asOf is the time of a snapshot row
	survivedExec                       // was open across an exec
	knownCloexec                       // a row told whether it is close-on-exec
	closeOnExec
)

// slot is one descriptor number of a table.
type slot struct {
	sock  *Socket // nil: closed, or not a socket
	since uint64  // when it was installed, or first shown by a row
	// asOf is the time of the news that the rest comes from. A copy has that
	// of the original: it is no better known.
	asOf  uint64
	gone  uint32 // low half of the inode number that was closed here last
	via   Via
	flags slotFlags
}

// holdsAt reports whether a snapshot row said, at time or later, what the
// descriptor refers to: then an event of that time is old news.
func (s *slot) holdsAt(time uint64) bool {
	return s.flags&byRow != 0 && s.asOf >= time
}

// A table is stored in pages of slots, because the numbers are dense, start at
// zero and are copied as a whole by fork, but may also be as high as 2^30.
const (
	pageShift = 5
	pageSize  = 1 << pageShift
)

type page struct {
	number int32 // fd >> pageShift
	slots  *[pageSize]slot
}

// fdTable is a descriptor table of the kernel.
type fdTable struct {
	id      uint64
	used    int    // slots that hold a socket
	pages   []page // by number
	links   []link // the processes that use it
	touched uint64 // when it was last spoken of

	// born is when an event defined it; rows from before speak of another
	// table with the same id. Zero if it was there before us.
	born uint64
	// swept is when descriptors were last closed without naming them.
	swept uint64
	// doubtful is when it was last changed in a way the events leave open.
	doubtful uint64
	shown    uint64 // time of the last row of it
}

// link says that a process uses a table.
type link struct {
	p     *process
	since uint64 // when it was heard of
	seen  uint64 // the last snapshot row that shows it
}

// page returns the index of page number n, or where it belongs.
func (f *fdTable) page(n int32) (int, bool) {
	// Without gaps, which is the rule, the page number is the index.
	if int(n) < len(f.pages) && n >= 0 && f.pages[n].number == n {
		return int(n), true
	}
	return slices.BinarySearchFunc(f.pages, n, func(p page, n int32) int { return int(p.number) - int(n) })
}

// find returns the slot of fd, or nil if nothing was ever stored near it.
func (f *fdTable) find(fd int32) *slot {
	if i, ok := f.page(fd >> pageShift); ok {
		return &f.pages[i].slots[fd&(pageSize-1)]
	}
	return nil
}

// had reports whether fd refers to a socket, or the one that was closed there last was it.
func (f *fdTable) had(fd int32, s *Socket) bool {
	sl := f.find(fd)
	return sl != nil && (sl.sock == s || sl.sock == nil && sl.gone == uint32(s.Inode))
}

// slot returns the slot of fd, which must not be negative.
func (f *fdTable) slot(fd int32, pool *pagePool) *slot {
	return &f.ensure(fd>>pageShift, pool)[fd&(pageSize-1)]
}

// ensure returns the slots of page number n.
func (f *fdTable) ensure(n int32, pool *pagePool) *[pageSize]slot {
	i, ok := f.page(n)
	if !ok {
		f.pages = slices.Insert(f.pages, i, page{n, pool.get()})
	}
	return f.pages[i].slots
}

// linked returns the link of a process, or nil.
func (f *fdTable) linked(p *process) *link {
	for i := range f.links {
		if f.links[i].p == p {
			return &f.links[i]
		}
	}
	return nil
}

// within calls do for every slot with a socket in [first, last].
func (f *fdTable) within(first, last int32, do func(fd int32, sl *slot)) {
	i, _ := f.page(max(first, 0) >> pageShift)
	for ; i < len(f.pages); i++ {
		base := f.pages[i].number << pageShift
		if base > last {
			return
		}
		for j := range f.pages[i].slots {
			fd := base + int32(j)
			if sl := &f.pages[i].slots[j]; sl.sock != nil && fd >= first && fd <= last {
				do(fd, sl)
			}
		}
	}
}

// each calls visit for every descriptor of a socket until it returns false,
// and reports whether it never did.
func (f *fdTable) each(visit func(f *fdTable, fd int32, sl *slot) bool) bool {
	for _, pg := range f.pages {
		for i := range pg.slots {
			if sl := &pg.slots[i]; sl.sock != nil && !visit(f, pg.number<<pageShift+int32(i), sl) {
				return false
			}
		}
	}
	return true
}

// pagePool reuses pages and tables.
type pagePool struct {
	pages  []*[pageSize]slot
	tables []*fdTable
}

// get returns a page of zero slots.
func (p *pagePool) get() *[pageSize]slot {
	n := len(p.pages)
	if n == 0 {
		return new([pageSize]slot)
	}
	s := p.pages[n-1]
	p.pages = p.pages[:n-1]
	*s = [pageSize]slot{}
	return s
}

// table returns an empty table.
func (p *pagePool) table(id, time uint64) *fdTable {
	n := len(p.tables)
	if n == 0 {
		return &fdTable{id: id, touched: time}
	}
	f := p.tables[n-1]
	p.tables = p.tables[:n-1]
	*f = fdTable{id: id, touched: time, pages: f.pages, links: f.links}
	return f
}

// put takes back a table that nothing refers to, and its pages.
func (p *pagePool) put(f *fdTable) {
	for _, pg := range f.pages {
		p.pages = append(p.pages, pg.slots)
	}
	f.pages, f.links = f.pages[:0], f.links[:0]
	p.tables = append(p.tables, f)
}
