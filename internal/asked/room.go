package asked

const (
	// maxProcesses bounds the processes that are followed at one time, and those
	// that are to be when there is room: what the map attached holds.
	maxProcesses = 4096
	// maxProbed bounds those of them that have uprobes, with two descriptors each:
	// those of Go have none.
	maxProbed = 256
)

// room reports whether one more process can be followed.
func (f *follower) room(probed bool) bool {
	return len(f.attached) < maxProcesses && (!probed || f.probed() < maxProbed)
}

// probed is the number of processes that have uprobes.
func (f *follower) probed() int {
	n := 0
	for _, p := range f.attached {
		if len(p.links) > 0 {
			n++
		}
	}
	return n
}

// refuse notes a process there is no room for, and counts it once.
func (f *follower) refuse(pid uint32, probed bool) {
	if before, again := f.refused[pid]; again {
		f.refused[pid] = before || probed
		return
	}
	if len(f.refused) < maxProcesses {
		f.refused[pid] = probed
	}
	f.mu.Lock()
	f.status.Refused++
	f.mu.Unlock()
}

// retry looks again at processes there was no room for.
func (f *follower) retry() {
	for pid, probed := range f.refused {
		if f.closing.Load() || !f.room(probed) {
			continue
		}
		delete(f.refused, pid)
		f.note(pid, f.serve(request{pid: pid}))
	}
}
