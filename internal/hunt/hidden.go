package hunt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf/btf"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/release"
	"sockleak/internal/words"
)

// hidden finds the sockets that no process has a descriptor for, where the kernel
// lets us follow the files of sockets: they are in io_uring's own tables, or under
// way in an AF_UNIX socket. Snapshots, which go by descriptors, never see them.
type hidden struct {
	files  socketFiles // nil where they can't be had
	failed error       // why
	// seen has, by inode number, those that the last look found, so that what is
	// only just being made is not taken for one.
	seen map[uint64]release.File
	// now has those that the last two looks found.
	now []release.File
}

// socketFiles is a release.Tracker.
type socketFiles interface {
	Files(before uint64, f func(release.File)) error
	Lost() (uint64, error)
	Unreleased() (uint64, error)
	Close() error
}

// open attaches for what p traces, if the kernel lets us. types is as in probe.Config.
func (h *hidden) open(p *probe.Probe, types *btf.Cache) {
	self, rules, targets, comms := p.Scope()
	files, err := release.Open(release.Scope{Self: self, Rules: rules, Targets: targets, Comms: comms}, types)
	if h.failed = err; err == nil {
		h.files = files
	}
}

// look compares the files there are with the descriptors of a snapshot that began
// at start.
func (h *hidden) look(start, hz uint64, rows []byte) error {
	if h.files == nil {
		return nil
	}
	without := map[uint64]release.File{}
	err := h.files.Files(start, func(f release.File) { without[f.Inode] = f })
	if err != nil {
		return err
	}
	var row event.Row
	for record := range probe.Rows(rows) {
		if len(without) == 0 {
			break
		}
		if err := probe.DecodeRow(record, hz, &row); err != nil {
			return err
		}
		delete(without, row.Inode)
	}
	h.now = h.now[:0]
	for inode, f := range without {
		if before, ok := h.seen[inode]; ok && before.Time == f.Time {
			h.now = append(h.now, f)
		}
	}
	h.seen = without
	return nil
}

// notes says which there are, by the process that made them.
func (h *hidden) notes(now uint64) ([]string, error) {
	if h.failed != nil {
		return []string{"sockets without a descriptor were not looked for, such as direct descriptors of io_uring: sockleak doctor says why"}, nil
	}
	type group struct {
		comm   string
		count  int
		oldest uint64
	}
	groups := map[uint32]group{}
	for _, f := range h.now {
		g, ok := groups[f.PID]
		if !ok {
			g = group{comm: f.Comm, oldest: f.Time}
		}
		g.count++
		g.oldest = min(g.oldest, f.Time)
		groups[f.PID] = g
	}
	var notes []string
	for _, pid := range slices.Sorted(maps.Keys(groups)) {
		g := groups[pid]
		made := fmt.Sprintf("made by %s (pid %d)", g.comm, pid)
		notes = append(notes, fmt.Sprintf("%s open without a descriptor in any process, the oldest for %s: "+
			"a direct descriptor of io_uring, in flight in an AF_UNIX socket, or for an accept that waits, which has its socket from the start",
			words.Counted(g.count, "socket "+made+" is", "sockets "+made+" are"), words.Duration(time.Duration(now-min(now, g.oldest)))))
	}
	unseen, err := h.files.Unreleased()
	if unseen > 0 && len(groups) > 0 {
		notes = append(notes, fmt.Sprintf("the release of %s was not seen: as many of those without a descriptor may be closed", words.Counted(unseen, "socket", "sockets")))
	}
	lost, lerr := h.files.Lost()
	if lost > 0 {
		notes = append(notes, words.Counted(lost, "socket was not followed to the release of its file: without a descriptor it would not be seen",
			"sockets were not followed to the release of their files: without a descriptor they would not be seen"))
	}
	return notes, errors.Join(err, lerr)
}

func (h *hidden) close() error {
	if h.files == nil {
		return nil
	}
	return h.files.Close()
}
