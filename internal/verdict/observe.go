package verdict

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/words"
)

const (
	// remarkable is how many connections of a kind are worth a word.
	remarkable = 3
	// maxObservations bounds the list; the largest come first.
	maxObservations = 5
)

// noteQuiet counts a connection that no rule accuses and on which nothing came or
// went for the time that makes one suspect: one that was accepted and has no
// keepalive, or one that was made and that nothing waits on.
func (j *Judge) noteQuiet(of service, s subject) {
	noted := s.knows(event.KnownWaiters) && !s.Facts.Waiters
	if of.label.accepted {
		noted = s.knows(event.KnownKeepAlive) && !s.Facts.KeepAlive
	}
	if noted && j.idles(s) {
		j.quiet[place{of.process, of.label.accepted, of.label.peer}]++
	}
}

// place is whom a process's quiet connections are with: the server connected
// to, or the port that they were accepted on.
type place struct {
	process  event.ProcessKey
	accepted bool
	address  netip.AddrPort
}

// Observations says in words what is worth knowing of the connections that the
// last look didn't accuse: what looks like a pool and like a leak that has
// stopped, and what nobody would notice if the peer were gone.
func (j *Judge) Observations(names Names) []string {
	type found struct {
		count int
		text  string
	}
	var all []found
	for at, n := range j.quiet {
		if n < remarkable {
			continue
		}
		p := names.Process(at.process)
		who, idle := fmt.Sprintf("%s (pid %d)", p.Comm, p.PID), words.Duration(time.Duration(j.idle))
		if at.accepted {
			all = append(all, found{n, fmt.Sprintf(
				"%s connections that %s accepted on port %d were silent for %s or more, and keepalive is off: if a peer vanished without a FIN, nothing would tell",
				words.Thousands(n), who, at.address.Port(), idle)})
		} else {
			all = append(all, found{n, fmt.Sprintf(
				"%s connections of %s to %s were silent for %s or more and nothing waits on them: an idle pool looks like this, and so does a leak that has stopped; trace while they become more to tell",
				words.Thousands(n), who, at.address, idle)})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.text, b.text)) })
	texts := []string{}
	for _, f := range all[:min(len(all), maxObservations)] {
		texts = append(texts, f.text)
	}
	return texts
}
