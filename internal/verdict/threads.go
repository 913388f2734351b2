package verdict

import (
	"cmp"
	"slices"

	"sockleak/internal/lifecycle"
)

// threads are the names of the threads that made the sockets of a group, the most
// frequent first. Where all are called as the process is, as those are that were
// given no name, they say nothing.
func threads(t *lifecycle.Table, g *group, comm string) []Thread {
	counts := map[uint16]int{}
	for i := range g.members {
		if n := g.members[i].Thread; n != 0 {
			counts[n]++
		}
	}
	list := []Thread{}
	for number, n := range counts {
		list = append(list, Thread{Comm: t.ThreadName(number), Count: n})
	}
	if len(list) == 1 && list[0].Comm == comm {
		return []Thread{}
	}
	slices.SortFunc(list, func(a, b Thread) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Comm, b.Comm))
	})
	return list
}
