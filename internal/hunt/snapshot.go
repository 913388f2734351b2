package hunt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/procfs"
	"sockleak/internal/report"
)

// Snapshot reads the kernel's tables once, without tracing, and returns the rows
// and what a snapshot of them says about itself. pids and comms choose processes;
// both empty mean all but sockleak.
func Snapshot(pids []uint32, comms []string, version string) (rows []event.Row, info report.SnapshotInfo, err error) {
	hz, err := probe.HZ()
	if err != nil {
		return nil, info, err
	}
	s, err := probe.OpenSnapshotter()
	if err != nil {
		return nil, info, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	o := options{Scope: probe.Scope{PIDs: pids, Comms: comms}}
	fs := procfs.New("/proc")
	scope := o.scopeText()
	if len(pids) > 1 { // two snapshots of so many processes need not be of the same
		scope = "processes " + strings.Trim(fmt.Sprint(slices.Sorted(slices.Values(pids))), "[]")
	}
	info = report.SnapshotInfo{
		Time: time.Now().Round(0), Scope: scope, Kernel: kernelRelease(), Version: version,
	}
	if info.BootID, err = fs.BootID(); err != nil {
		return nil, info, err
	}
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
		return nil, info, fmt.Errorf("take a snapshot: %w", err)
	}
	info.Programs = programs(fs, rows)
	return rows, info, nil
}

// programs looks up the processes of rows. One that is gone, or another user's,
// has no program to show.
func programs(fs procfs.FS, rows []event.Row) map[event.ProcessKey]report.Program {
	found := map[event.ProcessKey]report.Program{}
	for i := range rows {
		key := event.ProcessKey{PID: rows[i].PID, Start: rows[i].Start}
		if _, known := found[key]; known {
			continue
		}
		found[key] = report.Program{}
		if p, err := fs.Process(key.PID); err == nil && p.StartedAt(key.Start) {
			found[key] = report.Program{Exe: p.Exe, Container: p.Container}
		}
	}
	return found
}
