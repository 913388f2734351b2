package verdict

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
)

// use is the last call on a socket that told something.
type use struct {
	time    uint64 // ns
	process event.ProcessKey
	stack   uint64
	call    uint64 // event.Event.Call
	op      event.Op
	errno   int32
	spared  bool // no stack was taken, stack is the call
	better  bool // stack was exchanged for one that tells more
}

// uses is what is known of such calls. What was seen to stand for what is kept as for
// the creation of sockets (better, calls of Judge), and apart from it: a program has
// more places where sockets end than where they begin.
type uses struct {
	last          map[uint64]use // by inode
	better, calls relations
}

func newUses() uses { return uses{map[uint64]use{}, relations{}, relations{}} }

// Used notes a call that told something about a socket.
func (j *Judge) Used(e *event.Event) {
	p := event.ProcessKey{PID: e.PID, Start: e.Start}
	if !e.Spared {
		j.uses.calls.note(p, e.Call, e.Stack)
	}
	j.uses.last[e.Inode] = use{time: e.Time, process: p, stack: e.Stack, call: e.Call, op: e.Op, errno: e.Errno, spared: e.Spared}
}

// BetterUse notes that the stack of the call that was made on a socket at the time
// given, in ns of CLOCK_MONOTONIC, was exchanged for one that tells more; as Better.
func (j *Judge) BetterUse(p event.ProcessKey, inode, at, call, lesser, better uint64) {
	j.uses.better.note(p, lesser, better)
	j.uses.better.note(p, call, better)
	if u, ok := j.uses.last[inode]; ok && u.time == at && u.process == p {
		u.stack, u.better = better, true
		j.uses.last[inode] = u
	}
}

// dropUses forgets the calls on sockets that are gone, and of earlier sockets
// with the same inode number.
func (j *Judge) dropUses(t *lifecycle.Table) {
	if len(j.uses.last) == 0 {
		return
	}
	kept := make(map[uint64]use)
	for s := range t.Sockets() {
		if u, ok := j.uses.last[s.Inode]; ok && u.time >= s.Birth {
			kept[s.Inode] = u
		}
	}
	for _, m := range j.ended {
		if u, ok := j.uses.last[m.Inode]; ok {
			kept[m.Inode] = u
		}
	}
	j.uses.last = kept
}

// where is the stack that a call was made on, as far as it is known, and whether it is
// that of others by the same call. Where frame pointers lead astray, only the call tells
// of those whose better stack was lost.
func (u *uses) where(c use, names Names) (id uint64, inferred bool) {
	if names.Origin(c.process, c.stack).Quality == stack.Complete {
		return c.stack, false
	}
	id = bestOf(u.better, u.calls, c.process, c.stack)
	if id == c.stack && !c.better {
		if by := bestOf(u.better, u.calls, c.process, c.call); by != c.call {
			id = by
		}
	}
	return id, id != c.stack
}

// placeOf is where a call was made as the report has it.
func (u *uses) placeOf(c use, names Names) Origin {
	id, inferred := u.where(c, names)
	r := names.Origin(c.process, id)
	if c.spared && r.Quality == stack.None {
		r.Reason = event.LackSpared.String()
	}
	o := described(c.process, r, names)
	o.Inferred = inferred
	return o
}

// maxUses bounds the list of a finding; the most frequent come first.
const maxUses = 5

// lastUses are the last telling calls on the sockets of a group, those that read
// the same as one.
func (j *Judge) lastUses(g *group, names Names) []LastUse {
	type what struct {
		op    event.Op
		errno int32
		text  string
	}
	found := map[what]*LastUse{}
	for i := range g.members {
		u, ok := j.uses.last[g.members[i].Inode]
		if !ok {
			continue
		}
		id, inferred := j.uses.where(u, names)
		_, text := readingOf(u.process, id, names)
		key := what{u.op, u.errno, text}
		if l := found[key]; l != nil {
			l.Count++
			l.Origin.Inferred = l.Origin.Inferred || inferred
			continue
		}
		found[key] = &LastUse{Operation: operation(u.op), Result: result(u), Count: 1, Origin: j.uses.placeOf(u, names)}
	}
	list := []LastUse{}
	for _, l := range found {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b LastUse) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Result, b.Result),
			slices.CompareFunc(a.Origin.Frames, b.Origin.Frames, func(a, b stack.Frame) int {
				return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Address, b.Address))
			}))
	})
	return list[:min(len(list), maxUses)]
}

func operation(op event.Op) string {
	switch op {
	case event.Read:
		return "read"
	case event.Write:
		return "write"
	case event.Shutdown:
		return "shutdown"
	case event.EpollDel:
		return "epoll_ctl EPOLL_CTL_DEL"
	case event.SOError:
		return "getsockopt SO_ERROR"
	}
	return "unknown"
}

func result(u use) string {
	switch {
	case u.errno != 0:
		errno := unix.Errno(u.errno)
		return fmt.Sprintf("%s: %s", unix.ErrnoName(errno), errno.Error())
	case u.op == event.Read:
		return "end of file"
	}
	return "done"
}
