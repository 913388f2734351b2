package hunt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/procfs"
	"sockleak/internal/report"
)

// Snapshot reads the kernel's tables once, without tracing. pids and comms
// choose processes; both empty mean all but sockleak.
func Snapshot(pids []uint32, comms []string, version string) (_ *report.Snapshot, err error) {
	hz, err := probe.HZ()
	if err != nil {
		return nil, err
	}
	s, err := probe.OpenSnapshotter()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	o := options{Scope: probe.Scope{PIDs: pids, Comms: comms}}
	info := report.SnapshotInfo{
		Time: time.Now().Round(0), Scope: o.scopeText(), Kernel: kernelRelease(), Version: version,
		Exe: map[event.ProcessKey]string{},
	}
	rows := []event.Row{}
	var row event.Row
	var fault error
	_, _, err = s.Snapshot(func(b []byte) {
		if fault = errors.Join(fault, probe.DecodeRow(b, hz, &row)); fault != nil {
			return
		}
		chosen := len(pids) == 0 || slices.Contains(pids, row.PID)
		named := len(comms) == 0 || slices.Contains(comms, event.Comm(&row.Comm))
		if chosen && named {
			rows = append(rows, row)
		}
	})
	if err := errors.Join(err, fault); err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	fs := procfs.New("/proc")
	for i := range rows {
		key := event.ProcessKey{PID: rows[i].PID, Start: rows[i].Start}
		if _, known := info.Exe[key]; known {
			continue
		}
		// A process that is gone, or another user's, has no name to show.
		if p, err := fs.Process(key.PID); err == nil && p.StartedAt(key.Start) {
			info.Exe[key] = p.Exe
		}
	}
	return report.NewSnapshot(rows, info), nil
}
