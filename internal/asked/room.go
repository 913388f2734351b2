package asked

const (
	// maxProcesses bounds the processes that are followed at one time, and those
	// that are to be when there is room: what the map attached holds.
	maxProcesses = 4096
	// maxProbed bounds those of them that have uprobes, each of which takes two
	// descriptors. Processes of Go have none.
	maxProbed = 256
)

// room reports whether a process can be followed, nil if it isn't yet.
func (f *follower) room(p *process, probed bool) bool {
	if p == nil && len(f.attached) >= maxProcesses {
		return false
	}
	return !probed || p != nil && p.probed || f.probed < maxProbed
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
		if f.closing.Load() || !f.room(f.attached[pid], probed) {
			continue
		}
		delete(f.refused, pid)
		f.note(pid, f.serve(request{pid: pid}))
	}
}
