package hunt

import (
	"fmt"
	"slices"
	"time"

	"sockleak/internal/probe"
	"sockleak/internal/recording"
	"sockleak/internal/words"
)

// A look: the kernel's own tables, what is known beside them, and the judgement.

// snapshot reads the kernel's tables and merges them. The events that were made
// meanwhile are applied first, so that what it shows is not news. Those before the
// end of the first one speak of sockets that only it tells of, and of processes that
// are ours only by them: it is merged in two parts, and they come between.
func (l *live) snapshot() error {
	l.rows = l.rows[:0]
	began := time.Now()
	start, end, err := l.probe.Snapshot(func(row []byte) { l.rows = append(l.rows, row...) })
	if err != nil {
		return err
	}
	l.cost = time.Since(began)
	first := l.engine.reconciles == 0
	if !first {
		if err := l.catchUp(); err != nil {
			return err
		}
	}
	l.rec.time(recording.KindSnapshotBegin, start)
	l.engine.begin(start)
	rest := l.merge(l.rows, first)
	if first {
		if err := l.catchUp(); err != nil {
			return err
		}
		l.merge(rest, false)
	}
	l.rec.time(recording.KindSnapshotEnd, end)
	l.engine.end(end)
	if !l.closing {
		return nil
	}
	return l.hidden.look(start, l.engine.hz, l.rows)
}

// catchUp applies the events there are, those kept aside included.
func (l *live) catchUp() error {
	for once := true; once || l.probe.Kept() > 0; once = false {
		if err := l.drain(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// merge merges rows of a snapshot, and returns those that are not of ours, if they are
// to be kept.
func (l *live) merge(rows []byte, keep bool) (others []byte) {
	began := time.Now()
	defer func() { l.cost += time.Since(began) }()
	for row := range probe.Rows(rows) {
		// Of other processes' sockets a recording knows nothing but the ports that
		// are listened on.
		if l.engine.rowRecord(row) {
			l.rec.frame(recording.KindRow, row)
			continue
		}
		if keep {
			others = append(others, row...)
		}
		if port, news := l.engine.listener(); news {
			l.rec.fixed(recording.KindListener, port)
		}
	}
	return others
}

// reconcile takes a snapshot and judges.
func (l *live) reconcile(final bool) error {
	// What is lost from here on is not repaired by this snapshot.
	before, err := l.probe.Loss()
	if err != nil {
		return err
	}
	l.loss = before
	if err := l.snapshot(); err != nil {
		return err
	}
	l.judged = 0
	return l.judging(func() error { return l.look(final) })
}

// judging does something that takes time, and counts that.
func (l *live) judging(f func() error) error {
	began := time.Now()
	defer func() { l.judged += time.Since(began) }()
	return l.probe.Aside(f)
}

// look judges after a snapshot.
func (l *live) look(final bool) error {
	loss, err := l.probe.Loss()
	if err != nil {
		return err
	}
	t := tick{Time: probe.Now(), Final: final, Ended: l.engine.ended(), Loss: loss, Processes: l.count()}
	t.Named = len(l.engine.unseen()) > 0 && l.opts.named(l.fs, l.engine.alive)
	// Until now the events have been applied: what comes meanwhile has not, and symbols
	// can take long to read.
	if !final {
		l.exchange(t.Time - patience)
	} else {
		l.exchange(t.Time - lastPatience)
		t.TimeWait = l.timeWait()
		if t.Notes, err = l.endNotes(); err != nil {
			return err
		}
	}
	l.rec.json(recording.KindTick, t)
	l.rec.flush()
	l.engine.look(t)
	return nil
}

// count counts the descriptors of every process that has sockets.
func (l *live) count() []counted {
	all := []counted{}
	for p := range l.engine.table.Processes() {
		if _, known := l.engine.names.known[p.Key]; !known && !l.describe(p.Key) {
			continue
		}
		used, err := l.fs.CountFDs(p.Key.PID)
		if err != nil {
			continue // it has ended
		}
		// It may be changed at any time: setrlimit(2), prlimit(1).
		if limit, err := l.fs.NoFile(p.Key.PID); err == nil {
			all = append(all, counted{ProcessKey: p.Key, Used: uint64(used), NoFile: limit})
		}
	}
	return all
}

// sparedNote says how many stacks the budget left out.
func (l *live) sparedNote() []string {
	if l.engine.spared == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s of %s sockets were made without their stack being taken, to stay within --stack-rate %d; they are counted, and have the origin of those made by the same call if that is one",
		words.Thousands(l.engine.spared), words.Thousands(l.engine.births), l.cfg.Probe.StackRate)}
}

// timeWait counts the TIME-WAIT sockets in the network namespaces of the
// processes that were attached to; nil when it can't be known.
func (l *live) timeWait() *uint64 {
	var sum uint64
	seen := map[uint64]bool{}
	for _, pid := range l.opts.Scope.PIDs {
		s, err := l.fs.SockStat(pid)
		if err != nil || seen[s.NetNS] {
			continue
		}
		seen[s.NetNS] = true
		sum += s.TimeWait
	}
	if len(seen) == 0 {
		return nil
	}
	return &sum
}

func (l *live) endNotes() ([]string, error) {
	notes := slices.Concat(l.deep.note(l.began), l.unwound.note(), l.sparedNote())
	if note := l.compat.note(); note != "" {
		notes = append(notes, note)
	}
	if l.maps != nil && l.maps.Lost() > 0 {
		notes = append(notes, fmt.Sprintf("records of mapped code were lost %d times: the code of processes that ended at once then is not named", l.maps.Lost()))
	}
	if l.engine.ended() && l.opts.Command == "" {
		notes = append(notes, fmt.Sprintf("all processes in scope had ended after %s", time.Since(l.started).Round(100*time.Millisecond)))
	}
	more, err := l.hidden.notes(probe.Now())
	return append(notes, more...), err
}
