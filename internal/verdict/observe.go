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

// quiet counts established connections that no rule accuses and on which nothing
// came or went for the time that makes one suspect.
type quiet struct {
	unwatched int // nothing waits on them
	mute      int // without keepalive
}

// noteQuiet counts a connection if it is one of those.
func (j *Judge) noteQuiet(of service, s subject) {
	if !j.idles(s) {
		return
	}
	at := place{of.process, of.label.accepted, of.label.peer}
	q := j.quiet[at]
	if s.knows(event.KnownWaiters) && !s.Facts.Waiters {
		q.unwatched++
	}
	if s.knows(event.KnownKeepAlive) && !s.Facts.KeepAlive {
		q.mute++
	}
	j.quiet[at] = q
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
	for at, q := range j.quiet {
		p := names.Process(at.process)
		who, idle := fmt.Sprintf("%s (pid %d)", p.Comm, p.PID), words.Duration(time.Duration(j.idle))
		switch {
		case at.accepted && q.mute >= remarkable:
			all = append(all, found{q.mute, fmt.Sprintf(
				"%s connections that %s accepted on port %d were silent for %s or more, and keepalive is off: if a peer vanished without a FIN, nothing would tell",
				words.Thousands(q.mute), who, at.address.Port(), idle)})
		case !at.accepted && q.unwatched >= remarkable:
			all = append(all, found{q.unwatched, fmt.Sprintf(
				"%s connections of %s to %s were silent for %s or more and nothing waits on them: so does an idle pool look, and a leak that has stopped; trace while they become more to tell",
				words.Thousands(q.unwatched), who, at.address, idle)})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.text, b.text)) })
	texts := []string{}
	for _, f := range all[:min(len(all), maxObservations)] {
		texts = append(texts, f.text)
	}
	return texts
}
