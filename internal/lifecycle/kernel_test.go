package lifecycle

import (
	"maps"
	"math/rand/v2"
	"slices"

	"sockleak/internal/event"
)

// kernel is a tiny model of what Linux does with descriptors. Its operations
// change its own tables and emit the events that the real one would.
type kernel struct {
	rnd    *rand.Rand
	time   uint64
	inode  uint64
	tables uint64
	freed  []uint64 // table ids that may be used again
	pid    uint32
	procs  []*mproc
	flight []*mfile // open files in AF_UNIX queues
	emit   func(*event.Event)

	// blind: something happened that makes no event. Until the next snapshot
	// the table can't be right.
	blind bool
	// inodes bounds the inode numbers, so that they are reused soon.
	inodes uint64
	inUse  map[uint64]*mfile
}

// mfile is an open file; inode zero is one that isn't a socket.
type mfile struct {
	inode, birth, stack uint64
	creator             event.ProcessKey
	refs                int
	state               uint8
}

type mtable struct {
	id    uint64
	fds   map[int32]*mfile
	cloex map[int32]bool
	users int
}

// mproc has a table for each of its threads.
type mproc struct {
	key     event.ProcessKey
	threads []*mtable
}

func newKernel(seed uint64, emit func(*event.Event)) *kernel {
	k := &kernel{rnd: rand.New(rand.NewPCG(seed, 1)), time: 1e9, pid: 100, inodes: 1 << 32,
		emit: emit, inUse: make(map[uint64]*mfile)}
	for range 3 {
		k.procs = append(k.procs, &mproc{key: k.newKey(), threads: []*mtable{k.newTable()}})
	}
	return k
}

func (k *kernel) tick() uint64 {
	k.time += 1 + k.rnd.Uint64N(1000)
	return k.time
}

func (k *kernel) newKey() event.ProcessKey {
	k.pid++
	return event.ProcessKey{PID: k.pid, Start: k.tick()}
}

// newTable reuses the ids of freed tables soon, as the kernel's allocator does.
func (k *kernel) newTable() *mtable {
	var id uint64
	if n := len(k.freed); n > 0 && k.rnd.IntN(2) == 0 {
		id, k.freed = k.freed[n-1], k.freed[:n-1]
	} else {
		k.tables++
		id = k.tables
	}
	return &mtable{id: id, fds: make(map[int32]*mfile), cloex: make(map[int32]bool), users: 1}
}

func (k *kernel) newFile(p *mproc) *mfile {
	for {
		k.inode = k.inode%k.inodes + 1
		if k.inUse[k.inode] == nil {
			break
		}
	}
	f := &mfile{inode: k.inode, creator: p.key, state: event.StateClose}
	k.inUse[f.inode] = f
	return f
}

func (k *kernel) put(f *mfile) {
	if f.refs--; f.refs == 0 && f.inode != 0 {
		delete(k.inUse, f.inode)
	}
}

func (k *kernel) set(t *mtable, fd int32, f *mfile) {
	f.refs++
	if old := t.fds[fd]; old != nil {
		k.put(old)
	}
	t.fds[fd] = f
	t.cloex[fd] = k.rnd.IntN(2) == 0
}

func (k *kernel) clear(t *mtable, fd int32) {
	if f := t.fds[fd]; f != nil {
		delete(t.fds, fd)
		k.put(f)
	}
}

// release drops one use of a table.
func (k *kernel) release(t *mtable) {
	if t.users--; t.users > 0 {
		return
	}
	for _, fd := range sorted(t.fds) {
		k.clear(t, fd)
	}
	k.freed = append(k.freed, t.id)
}

func (k *kernel) copyTable(from *mtable) *mtable {
	to := k.newTable()
	for fd, f := range from.fds {
		f.refs++
		to.fds[fd] = f
		to.cloex[fd] = from.cloex[fd]
	}
	return to
}

// lowest returns the lowest free descriptor, sometimes a far one.
func (k *kernel) lowest(t *mtable) int32 {
	fd := int32(3)
	if k.rnd.IntN(50) == 0 {
		fd = k.rnd.Int32N(1 << 20)
	}
	for t.fds[fd] != nil {
		fd++
	}
	return fd
}

func sorted[V any](m map[int32]V) []int32 { return slices.Sorted(maps.Keys(m)) }

// pick returns a descriptor in use.
func (k *kernel) pick(t *mtable) (int32, bool) {
	if len(t.fds) == 0 {
		return 0, false
	}
	fds := sorted(t.fds)
	return fds[k.rnd.IntN(len(fds))], true
}

func (k *kernel) event(kind event.Kind, p *mproc, t *mtable) *event.Event {
	return &event.Event{Time: k.tick(), Kind: kind, PID: p.key.PID, TID: p.key.PID, Start: p.key.Start, Table: t.id}
}

// uses is the number of threads of the process that use a table.
func (p *mproc) uses(t *mtable) int {
	n := 0
	for _, other := range p.threads {
		if other == t {
			n++
		}
	}
	return n
}

// step performs one random operation of a random thread.
func (k *kernel) step() {
	p := k.procs[k.rnd.IntN(len(k.procs))]
	i := k.rnd.IntN(len(p.threads))
	t := p.threads[i]
	if k.rnd.IntN(2000) == 0 {
		k.time += 1e9
	}
	switch n := k.rnd.IntN(100); {
	case n < 30:
		k.create(p, t)
	case n < 52:
		k.close(p, t)
	case n < 60:
		k.dup(p, t)
	case n < 70:
		k.state(t)
	case n < 72:
		k.closeRange(p, i)
	case n < 77:
		k.fork(p, i)
	case n < 83:
		k.exit(p)
	case n < 85:
		k.exec(p, i)
	case n < 88:
		if len(p.threads) < 3 {
			t.users++
			p.threads = append(p.threads, t)
		}
	case n < 91:
		k.unshare(p, i)
	case n < 94:
		k.threadExit(p, i)
	case n < 97:
		if fd := k.lowest(t); len(t.fds) < 200 { // open(2): no event
			k.set(t, fd, new(mfile))
		}
	default:
		k.pass(t)
	}
}

func (k *kernel) create(p *mproc, t *mtable) {
	if len(t.fds) > 150 {
		return
	}
	kind := []event.Kind{event.Socket, event.Pair, event.Accept}[k.rnd.IntN(3)]
	halves := 1
	if kind == event.Pair {
		halves = 2
	}
	for range halves {
		fd, f := k.lowest(t), k.newFile(p)
		k.set(t, fd, f)
		e := k.event(kind, p, t)
		e.FD, e.Inode, e.Stack = fd, f.inode, k.rnd.Uint64()
		e.Sock = event.Sock{Family: afInet, Type: 1, Protocol: protocolTCP, State: f.state}
		f.birth, f.stack = e.Time, e.Stack
		k.emit(e)
	}
}

func (k *kernel) close(p *mproc, t *mtable) {
	fd, ok := k.pick(t)
	if !ok {
		return
	}
	e := k.event(event.Close, p, t)
	e.FD, e.Inode = fd, t.fds[fd].inode
	k.clear(t, fd)
	if e.Inode != 0 {
		k.emit(e)
	}
}

func (k *kernel) dup(p *mproc, t *mtable) {
	from, ok := k.pick(t)
	if !ok || len(t.fds) > 150 {
		return
	}
	fd := k.lowest(t)
	var inode2 uint64
	if k.rnd.IntN(2) == 0 {
		fd, _ = k.pick(t)
		inode2 = t.fds[fd].inode
	}
	if fd == from {
		return
	}
	k.set(t, fd, t.fds[from])
	e := k.event(event.Dup, p, t)
	e.FD, e.Inode, e.Inode2 = fd, t.fds[fd].inode, inode2
	if e.Inode != 0 || e.Inode2 != 0 {
		k.emit(e)
	}
}

func (k *kernel) state(t *mtable) {
	fd, ok := k.pick(t)
	if !ok || t.fds[fd].inode == 0 {
		return
	}
	f := t.fds[fd]
	e := &event.Event{Time: k.tick(), Kind: event.TCPState, Inode: f.inode, OldState: f.state,
		NewState: []uint8{event.StateSynSent, event.StateEstablished, event.StateCloseWait, event.StateClose}[k.rnd.IntN(4)],
		Sock:     event.Sock{Family: afInet, Type: 1, Protocol: protocolTCP}}
	if e.NewState == e.OldState {
		return
	}
	f.state = e.NewState
	k.emit(e)
}

func (k *kernel) closeRange(p *mproc, i int) {
	t := p.threads[i]
	first := k.rnd.Int32N(100)
	e := &event.Event{Begin: k.tick(), FD: first, FD2: first + k.rnd.Int32N(30), CloseOnExec: k.rnd.IntN(3) == 0}
	e.Table2, e.Alone = t.id, len(p.threads) == 1
	if t.users > 1 && k.rnd.IntN(2) == 0 {
		k.leaving(p, t)
		to := k.copyTable(t)
		t.users--
		p.threads[i] = to
		t = to
	}
	for _, fd := range sorted(t.fds) {
		if fd >= e.FD && fd <= e.FD2 {
			if e.CloseOnExec {
				t.cloex[fd] = true
			} else {
				k.clear(t, fd)
			}
		}
	}
	head := k.event(event.CloseRange, p, t)
	e.Kind, e.Time, e.PID, e.TID, e.Start, e.Table = head.Kind, head.Time, head.PID, head.TID, head.Start, head.Table
	k.emit(e)
}

// leaving notes when a thread was the last of several in a process to use a
// table that another process goes on to use: only a snapshot tells.
func (k *kernel) leaving(p *mproc, t *mtable) {
	if len(p.threads) > 1 && p.uses(t) == 1 && t.users > 1 {
		k.blind = true
	}
}

func (k *kernel) fork(p *mproc, i int) {
	if len(k.procs) > 12 {
		return
	}
	t := p.threads[i]
	child := &mproc{key: k.newKey()}
	if k.rnd.IntN(5) == 0 {
		t.users++
		child.threads = []*mtable{t}
	} else {
		child.threads = []*mtable{k.copyTable(t)}
	}
	k.procs = append(k.procs, child)
	e := k.event(event.Fork, p, t)
	e.Table2, e.ChildPID, e.ChildStart = child.threads[0].id, child.key.PID, child.key.Start
	k.emit(e)
}

func (k *kernel) exit(p *mproc) {
	if len(k.procs) < 3 {
		return
	}
	e := k.event(event.Exit, p, p.threads[0])
	for _, t := range p.threads {
		k.release(t)
	}
	k.procs = slices.DeleteFunc(k.procs, func(other *mproc) bool { return other == p })
	k.emit(e)
}

func (k *kernel) exec(p *mproc, i int) {
	before := p.threads[i]
	after := before
	for j, t := range p.threads {
		if j != i {
			k.release(t)
		}
	}
	if before.users > 1 {
		after = k.copyTable(before)
		k.release(before)
	}
	p.threads = []*mtable{after}
	for _, fd := range sorted(after.fds) {
		if after.cloex[fd] {
			k.clear(after, fd)
		}
	}
	e := k.event(event.Exec, p, after)
	e.Table2 = before.id
	k.emit(e)
	// In two parts, the second without end.
	open := make([]byte, 8)
	far := make([]byte, 1<<17)
	for fd := range after.fds {
		if fd < 64 {
			open[fd>>3] |= 1 << (fd & 7)
		} else {
			far[(fd-64)>>3] |= 1 << ((fd - 64) & 7)
		}
	}
	part := k.event(event.ExecFDs, p, after)
	part.FD, part.FD2, part.OpenFDs = 0, 63, open
	k.emit(part)
	part = k.event(event.ExecFDs, p, after)
	part.FD, part.FD2, part.OpenFDs = 64, 1<<31-1, far
	k.emit(part)
}

func (k *kernel) unshare(p *mproc, i int) {
	t := p.threads[i]
	if t.users == 1 {
		return
	}
	k.leaving(p, t)
	p.threads[i] = k.copyTable(t)
	t.users--
	e := k.event(event.Unshare, p, p.threads[i])
	e.Table2, e.Alone = t.id, len(p.threads) == 1
	k.emit(e)
}

func (k *kernel) threadExit(p *mproc, i int) {
	if len(p.threads) == 1 {
		return
	}
	t := p.threads[i]
	k.leaving(p, t)
	p.threads = slices.Delete(p.threads, i, i+1)
	k.release(t)
	if t.users == 0 {
		k.emit(k.event(event.TableExit, p, t))
	}
}

// pass sends or receives a descriptor by SCM_RIGHTS: no event.
func (k *kernel) pass(t *mtable) {
	if n := len(k.flight); n > 0 && (n > 5 || k.rnd.IntN(2) == 0) {
		f := k.flight[0]
		k.flight = k.flight[1:]
		k.set(t, k.lowest(t), f)
		k.put(f)
		k.blind = true
		return
	}
	if fd, ok := k.pick(t); ok && t.fds[fd].inode != 0 {
		t.fds[fd].refs++
		k.flight = append(k.flight, t.fds[fd])
	}
}

// rows walks the processes in the order of their PIDs, as the iterator does,
// and calls between before each.
func (k *kernel) rows(between func()) []event.Row {
	var rows []event.Row
	for last := uint32(0); ; {
		between()
		i := slices.IndexFunc(k.procs, func(p *mproc) bool { return p.key.PID > last })
		if i < 0 {
			return rows
		}
		p := k.procs[i]
		last = p.key.PID
		for j, t := range p.threads {
			if slices.Contains(p.threads[:j], t) {
				continue
			}
			for _, fd := range sorted(t.fds) {
				f := t.fds[fd]
				if f.inode == 0 {
					continue
				}
				rows = append(rows, event.Row{Time: k.tick(), PID: p.key.PID, Start: p.key.Start, Table: t.id, FD: fd, Inode: f.inode,
					Sock:  event.Sock{Family: afInet, Type: 1, Protocol: protocolTCP, State: f.state},
					Facts: event.Facts{Known: event.KnownDescriptor, CloseOnExec: t.cloex[fd]}})
			}
		}
	}
}
