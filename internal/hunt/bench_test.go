package hunt

import (
	"encoding/binary"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// Kinds of records and the places of fields, as bpf/contract.h has them.
const (
	recSocket, recConnect, recClose, recTCPState, recTCPDestroy = 1, 4, 5, 8, 9

	atPID, atTime, atStart, atTable, atInode, atTID, atFD, atOldState, atStack, atComm, atSock, recordSize = 4, 8, 16, 24, 32, 40, 44, 52, 56, 80, 112, 200
)

// connection is the records of one client connection, from socket to the end.
type connection [7][]byte

func newConnection() *connection {
	var c connection
	for i, r := range []struct {
		kind       uint32
		old, state byte
	}{
		{recSocket, 0, event.StateClose},
		{recTCPState, event.StateClose, event.StateSynSent},
		{recTCPState, event.StateSynSent, event.StateEstablished},
		{recConnect, 0, event.StateEstablished},
		{recClose, 0, 0},
		{recTCPState, event.StateEstablished, event.StateClose},
		{recTCPDestroy, 0, 0},
	} {
		b := make([]byte, recordSize)
		le := binary.LittleEndian
		le.PutUint32(b, r.kind)
		if r.kind != recTCPState && r.kind != recTCPDestroy {
			le.PutUint32(b[atPID:], 4242)
			le.PutUint32(b[atTID:], 4242)
			le.PutUint64(b[atStart:], 1)
			le.PutUint64(b[atTable:], 99)
			copy(b[atComm:], "bench")
		}
		if r.kind == recSocket {
			le.PutUint64(b[atStack:], 7)
		}
		b[atOldState] = r.old
		if r.state != 0 {
			copy(b[atSock:], []byte{2, 0, 1, 0, 6, 0, r.state, 0, 0x50, 0xc3, 80, 0, 0, 0, 0, 0, 127, 0, 0, 1})
		}
		c[i] = b
	}
	return &c
}

// at moves the connection to a time, a socket and a descriptor.
func (c *connection) at(now, inode uint64, fd uint32) {
	for i, b := range c {
		binary.LittleEndian.PutUint64(b[atTime:], now+uint64(i))
		binary.LittleEndian.PutUint64(b[atInode:], inode)
		binary.LittleEndian.PutUint32(b[atFD:], fd)
	}
}

type noStacks struct{}

func (noStacks) Capture(stack.Raw)                                 {}
func (noStacks) Resolve(event.ProcessKey, uint64) (o stack.Origin) { return o }
func (noStacks) Exec(event.ProcessKey)                             {}
func (noStacks) Forget(event.ProcessKey)                           {}

func benchEngine() *engine {
	return newEngine(options{Judgement: Judgement{Patience: verdict.Patience{MinAge: time.Second, Idle: time.Minute}}}, 250, 0, noStacks{}, verdict.Report{})
}

// The benchmark's records are what the decoder takes them for.
func TestBenchRecords(t *testing.T) {
	c := newConnection()
	c.at(1000, 5, 3)
	want := []event.Kind{event.Socket, event.TCPState, event.TCPState, event.Connect, event.Close, event.TCPState, event.TCPDestroy}
	for i, b := range c {
		var ev event.Event
		if _, err := probe.Decode(b, &ev, nil); err != nil || ev.Kind != want[i] || ev.Inode != 5 || ev.Time != 1000+uint64(i) {
			t.Errorf("record %d: %+v, %v", i, ev, err)
		}
	}
	e := benchEngine()
	for _, b := range c {
		e.event(b)
	}
	if got := e.table.Totals(); got != (lifecycle.Totals{Opened: 1, Closed: 1}) || e.decode != 0 {
		t.Errorf("%+v, %d not decoded", got, e.decode)
	}
}

// BenchmarkEvent is what an event costs the agent from the raw record to the
// table, with 10,000 other sockets open.
func BenchmarkEvent(b *testing.B) {
	e, c := benchEngine(), newConnection()
	const live = 10_000
	for i := range uint64(live) {
		c.at(10+i*10, 1+i, uint32(i))
		e.event(c[0])
	}
	now, inode := uint64(live*10+10), uint64(live+1)
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		if events%len(c) == 0 {
			now, inode = now+10, inode+1
			c.at(now, inode, live)
		}
		e.event(c[events%len(c)])
		events++
	}
	if got := e.table.Totals().Live; got > live+1 {
		b.Fatalf("%d live", got)
	}
}
