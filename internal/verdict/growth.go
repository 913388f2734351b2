package verdict

import (
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
)

// growth needs this many more sockets, over this long, to be called a leak.
const (
	growthCount = 3
	growthSpan  = 20 * time.Second
)

// growthTime is how long an origin must be watched for its growth to be judged.
func growthTime(minAge time.Duration) time.Duration { return max(growthSpan, 4*minAge) }

// growing reports whether an origin's sockets only become more: those that no
// other rule accuses.
func (j *Judge) growing(key groupKey) bool {
	s, n := j.groups[key], j.others[key]
	if s == nil || s.span() < growthTime(time.Duration(j.minAge)) || !s.rises(growthCount) {
		return false
	}
	// Half of what it opened is still there: they are not replaced, they add up.
	if key.stack == 0 || uint64(n.live) < (j.openedAt(key.originKey)+1)/2 {
		return false
	}
	// The old ones are not in use: a busy server takes on more work.
	return 2*n.silent >= n.live && n.silent >= growthCount
}

// silent: no data came or went for the grace time. Where the kernel can't tell,
// as for datagrams, it counts as silent: then the number alone speaks.
func (j *Judge) silent(s *lifecycle.Socket) bool {
	if s.Facts.Known&event.KnownActivity == 0 {
		return s.Birth+j.minAge <= j.looked
	}
	return min(s.Facts.LastRx, s.Facts.LastTx) >= j.minAge
}

// grown returns the members of the groups that grow. With them come the silent
// sockets of the same processes that were there before tracing began: they may
// be of the same origin.
func (j *Judge) grown(t *lifecycle.Table) map[groupKey][]member {
	found := map[groupKey][]member{}
	processes := map[event.ProcessKey]bool{}
	for key := range j.others {
		if j.growing(key) {
			found[key] = nil
			processes[key.process] = true
		}
	}
	if len(found) == 0 {
		return nil
	}
	for s, holders := range t.Sockets() {
		key := j.groupOf(s, holders, "")
		_, member := found[key]
		before := processes[key.process] && key.stack == 0 && j.silent(s) && s.Sock.State != event.StateListen
		if !member && !before {
			continue
		}
		if _, accused := judge(subject{Socket: s, now: j.looked, minAge: j.minAge, holders: holders}); !accused {
			found[key] = append(found[key], newMember(s, holders, condition{class: Growing, since: s.Birth}))
		}
	}
	return found
}
