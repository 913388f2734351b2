package lifecycle

import (
	"testing"

	"sockleak/internal/event"
)

// FuzzApply feeds the table events and rows that no kernel would make.
func FuzzApply(f *testing.F) {
	f.Add([]byte("\x01\x00\x01\x01\x03\x05\x00\x00\x05\x00\x01\x01\x03\x05\x00\x00"))
	f.Add([]byte("\x0a\x00\x01\x01\x03\x05\x02\x02\x10\x00\x01\x01\x03\x05\x00\x00\x11\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table := New(8)
		var time uint64
		for ; len(data) >= 8; data = data[8:] {
			// A small world, so that things meet; time runs back at times.
			b := data[:8]
			time += uint64(b[1]) - 16
			pid, id, fd, inode := uint32(b[2]%4), uint64(b[3]%5), int32(b[4]%40)-1, uint64(b[5]%12)
			if b[4] > 250 {
				fd = 1<<31 - 1 - int32(b[4]&1)
			}
			switch kind := b[0] % 20; kind {
			case 16, 17:
				table.Row(&event.Row{Time: time, PID: pid, Start: uint64(pid), Table: id, FD: fd, Inode: inode, Sock: tcp(b[6] % 13)})
			case 18:
				table.BeginSnapshot(time)
			case 19:
				table.EndSnapshot(time)
			default:
				table.Apply(&event.Event{Time: time, Kind: event.Kind(kind), PID: pid, TID: pid, Start: uint64(pid), Table: id,
					Table2: uint64(b[6] % 5), FD: fd, FD2: int32(b[7]) - 1, Inode: inode, Inode2: uint64(b[6] % 12), Sock: tcp(b[7] % 13),
					Begin: time - uint64(b[7]), ChildPID: uint32(b[7] % 4), ChildStart: uint64(b[7] % 4),
					OldState: b[6] % 13, NewState: b[7] % 13, Errno: int32(b[6]), CloseOnExec: b[7]&1 == 1, Alone: b[7]&2 == 2, OpenFDs: b[6:]})
			}
			if err := table.check(); err != nil {
				t.Fatal(err)
			}
		}
		for s, holders := range table.Sockets() {
			if len(holders) < s.Descriptors() {
				t.Fatalf("%d holders of %d descriptors", len(holders), s.Descriptors())
			}
		}
	})
}
