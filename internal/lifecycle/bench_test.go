package lifecycle

import (
	"runtime"
	"strconv"
	"testing"

	"sockleak/internal/event"
)

// fill makes a process with n live sockets at descriptors from 3.
func fill(t *Table, n int) {
	for i := range n {
		t.Apply(&event.Event{Time: uint64(i + 1), Kind: event.Socket, PID: 1, TID: 1, Start: 1, Table: 1,
			FD: int32(i + 3), Inode: uint64(i + 1), Sock: event.Sock{Family: afInet, Type: 1, Protocol: protocolTCP, State: event.StateClose}})
	}
}

// churn is the life of one connection.
func churn() []event.Event {
	tcp := event.Sock{Family: afInet, Type: 1, Protocol: protocolTCP, State: event.StateClose}
	task := event.Event{PID: 1, TID: 1, Start: 1, Table: 1, FD: 20000, Sock: tcp}
	state := func(from, to uint8) event.Event {
		return event.Event{Kind: event.TCPState, Sock: tcp, OldState: from, NewState: to}
	}
	socket, connect, closed := task, task, task
	socket.Kind, connect.Kind, closed.Kind = event.Socket, event.Connect, event.Close
	return []event.Event{
		socket,
		state(event.StateClose, event.StateSynSent), state(event.StateSynSent, event.StateEstablished),
		connect, closed, state(event.StateEstablished, event.StateClose), {Kind: event.TCPDestroy},
	}
}

func BenchmarkApply(b *testing.B) {
	const live = 10_000
	t := New(0)
	fill(t, live)
	events := churn()
	time, inode := uint64(live), uint64(live)
	life := func() {
		inode++
		for i := range events {
			time++
			events[i].Time, events[i].Inode = time, inode
			t.Apply(&events[i])
		}
	}
	for range 2 * maxGone {
		life()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += len(events) {
		life()
	}
}

// BenchmarkFork is a fork of a process with many sockets and the exit of the
// child.
func BenchmarkFork(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			t := New(0)
			fill(t, n)
			time := uint64(n)
			b.ReportAllocs()
			for b.Loop() {
				time += 2
				t.Apply(&event.Event{Time: time, Kind: event.Fork, PID: 1, TID: 1, Start: 1, Table: 1, Table2: 2, ChildPID: 2, ChildStart: time})
				t.Apply(&event.Event{Time: time + 1, Kind: event.Exit, PID: 2, TID: 2, Start: time, Table: 2})
			}
		})
	}
}

// BenchmarkSnapshot merges a snapshot that finds nothing to repair.
func BenchmarkSnapshot(b *testing.B) {
	const n = 100_000
	t := New(0)
	fill(t, n)
	time := uint64(n)
	for b.Loop() {
		t.BeginSnapshot(time)
		for i := range n {
			time++
			t.Row(&event.Row{Time: time, PID: 1, Start: 1, Table: 1, FD: int32(i + 3), Inode: uint64(i + 1)})
		}
		if r := t.EndSnapshot(time); r != (Repair{}) {
			b.Fatal(r)
		}
	}
}

// bytesPerSocket is what a live socket with one descriptor takes of the heap.
func bytesPerSocket() float64 {
	const n = 100_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	table := New(0)
	fill(table, n)
	each := float64(heap()-before) / n
	runtime.KeepAlive(table)
	return each
}

func BenchmarkMemory(b *testing.B) {
	each := bytesPerSocket()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(each, "B/live-socket")
}

func TestMemory(t *testing.T) {
	const limit = 400
	if each := bytesPerSocket(); each > limit {
		t.Errorf("%.0f bytes per live socket, want at most %d", each, limit)
	}
}

func TestApplyAllocatesNothing(t *testing.T) {
	table := New(0)
	fill(table, 1000)
	events := churn()
	time, inode := uint64(1000), uint64(1000)
	life := func() {
		inode++
		for i := range events {
			time++
			events[i].Time, events[i].Inode = time, inode
			table.Apply(&events[i])
		}
	}
	for range 4 * maxGone {
		life()
	}
	if n := testing.AllocsPerRun(2*maxGone, life); n != 0 {
		t.Errorf("%v allocations in the life of a connection, want none", n)
	}
}
