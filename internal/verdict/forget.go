package verdict

import (
	"iter"
	"maps"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// memory is something that is kept by process.
type memory struct {
	forget    func(event.ProcessKey)
	processes iter.Seq[event.ProcessKey]
}

func memoryOf[V any](m map[event.ProcessKey]V) memory {
	return memory{func(p event.ProcessKey) { delete(m, p) }, maps.Keys(m)}
}

// memories are all that Forget lets go of. News of any of them can come after the
// process has ended, and forgetDead finds it here.
func (j *Judge) memories() []memory {
	return []memory{
		memoryOf(j.opened), memoryOf(j.better), memoryOf(j.calls), memoryOf(j.asked), memoryOf(j.standing), memoryOf(j.askCalls), memoryOf(j.askSpared),
		memoryOf(j.divided), memoryOf(j.uses.better), memoryOf(j.uses.calls), {j.origins.forget, maps.Keys(j.origins.standIn)},
	}
}

// Forget lets go of what is only needed while the process lives, or while it is
// to be judged by what it left.
func (j *Judge) Forget(p event.ProcessKey) {
	if j.left[p] {
		return
	}
	for _, m := range j.memories() {
		m.forget(p)
	}
}

// forgetDead forgets the processes that are gone: the end of some was lost, and of
// others some news came after it.
func (j *Judge) forgetDead(t *lifecycle.Table) {
	for _, m := range j.memories() {
		for p := range m.processes {
			if _, live := t.Process(p); !live && !j.left[p] {
				m.forget(p)
			}
		}
	}
}

// Done returns those of processes of which no finding can show an origin any more:
// they have ended, and no socket is left that they made, or that was accepted from a
// listener of theirs.
func (j *Judge) Done(t *lifecycle.Table, processes iter.Seq[event.ProcessKey]) map[event.ProcessKey]bool {
	done := map[event.ProcessKey]bool{}
	for p := range processes {
		if _, live := t.Process(p); !live && !j.left[p] {
			done[p] = true
		}
	}
	if len(done) == 0 {
		return done // without a look at every socket
	}
	shown := func(s *lifecycle.Socket) {
		delete(done, s.Creator)
		if listener := t.Socket(s.Other); listener != nil {
			delete(done, listener.Creator)
		}
	}
	for s := range t.Sockets() {
		shown(s)
	}
	for i := range j.ended {
		shown(&j.ended[i].Socket)
	}
	return done
}
