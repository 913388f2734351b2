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
	op      event.Op
	errno   int32
}

// Used notes a call that told something about a socket.
func (j *Judge) Used(e *event.Event) {
	if j.uses == nil {
		j.uses = map[uint64]use{}
	}
	j.uses[e.Inode] = use{time: e.Time, process: event.ProcessKey{PID: e.PID, Start: e.Start}, stack: e.Stack, op: e.Op, errno: e.Errno}
}

// dropUses forgets the calls on sockets that are gone, and of earlier sockets
// with the same inode number.
func (j *Judge) dropUses(t *lifecycle.Table) {
	if len(j.uses) == 0 {
		return
	}
	kept := make(map[uint64]use)
	for s := range t.Sockets() {
		if u, ok := j.uses[s.Inode]; ok && u.time >= s.Birth {
			kept[s.Inode] = u
		}
	}
	for _, m := range j.ended {
		if u, ok := j.uses[m.Inode]; ok {
			kept[m.Inode] = u
		}
	}
	j.uses = kept
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
		u, ok := j.uses[g.members[i].Inode]
		if !ok {
			continue
		}
		key := what{u.op, u.errno, readingOf(u.process, u.stack, names)}
		if l := found[key]; l != nil {
			l.Count++
			continue
		}
		found[key] = &LastUse{Operation: operation(u.op), Result: result(u), Count: 1, Origin: described(u.process, names.Origin(u.process, u.stack), names)}
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
