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
		memoryOf(j.opened), memoryOf(j.better), memoryOf(j.calls), memoryOf(j.asked), memoryOf(j.askCalls), memoryOf(j.askSpared),
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
