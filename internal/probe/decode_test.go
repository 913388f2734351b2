package probe

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"

	"sockleak/internal/event"
	"sockleak/internal/preflight"
	"sockleak/internal/stack"
)

// bytesOf is a record as the kernel writes it.
func bytesOf[T any](v T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))...)
}

func name16(s string) (c [16]int8) {
	for i := range len(s) {
		c[i] = int8(s[i])
	}
	return c
}

func TestDecodeEvent(t *testing.T) {
	record := bpfEvent{
		Kind: uint32(bpfRecordKindREC_ACCEPT), Pid: 10, Tid: 11, Time: 12, Start: 13, Table: 14,
		Inode: 15, Inode2: 16, Stack: 17, Fd: 18, Fd2: 19,
		Sock: bpfSockDesc{
			Family: 10, Type: 1, Protocol: 6, State: event.StateEstablished, LocalPort: 80, RemotePort: 4000,
			Local:  [16]uint8{10: 0xff, 11: 0xff, 12: 127, 15: 1},
			Remote: [16]uint8{15: 1},
		},
		Comm: name16("server"), Thread: name16("worker-1"),
	}
	want := event.Event{
		Time: 12, Kind: event.Accept, PID: 10, TID: 11, Start: 13, Table: 14, FD: 18, FD2: 19,
		Inode: 15, Inode2: 16, Stack: 17,
		Sock: event.Sock{
			Family: 10, Type: 1, Protocol: 6, State: event.StateEstablished,
			// An IPv4-mapped address is an IPv4 address to a reader.
			Local: netip.MustParseAddrPort("127.0.0.1:80"), Remote: netip.MustParseAddrPort("[::1]:4000"),
		},
		Comm:   [16]byte{'s', 'e', 'r', 'v', 'e', 'r'},
		Thread: [16]byte{'w', 'o', 'r', 'k', 'e', 'r', '-', '1'},
	}
	var got event.Event
	if isStack, err := Decode(bytesOf(record), &got, nil); isStack || err != nil {
		t.Fatal(isStack, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

// The events that there are most of end where the rest is zero.
func TestDecodePart(t *testing.T) {
	whole := bpfEvent{
		Pid: 10, Tid: 11, Time: 12, Start: 13, Table: 14, Inode: 15, Fd: 16, Err: 17, OldState: 7, Stack: 18,
		Comm: name16("server"), Thread: name16("worker-1"),
		Sock:   bpfSockDesc{Family: 2, Type: 1, Protocol: 6, State: event.StateSynSent, RemotePort: 80, Remote: [16]uint8{127, 0, 0, 1}},
		Inode2: 19,
	}
	end := event.Event{Time: 12, PID: 10, Start: 13, Table: 14, Inode: 15}
	closed := end
	closed.TID, closed.FD = 11, 16
	made := closed
	made.Errno, made.OldState, made.Stack = 17, 7, 18
	made.Comm, made.Thread = [16]byte{'s', 'e', 'r', 'v', 'e', 'r'}, [16]byte{'w', 'o', 'r', 'k', 'e', 'r', '-', '1'}
	made.Sock = event.Sock{Family: 2, Type: 1, Protocol: 6, State: event.StateSynSent, Remote: netip.MustParseAddrPort("0.0.0.0:80")}
	state := made
	state.NewState, state.Sock.Remote = event.StateSynSent, netip.MustParseAddrPort("127.0.0.1:80")
	dup := state
	dup.NewState, dup.Inode2 = 0, 19
	for _, c := range []struct {
		kind bpfRecordKind
		is   event.Kind
		size bpfEventSize
		want event.Event
	}{
		{bpfRecordKindREC_TCP_DESTROY, event.TCPDestroy, bpfEventSizeSIZE_TCP_DESTROY, end},
		{bpfRecordKindREC_CLOSE, event.Close, bpfEventSizeSIZE_CLOSE, closed},
		{bpfRecordKindREC_SOCKET, event.Socket, bpfEventSizeSIZE_SOCKET, made},
		{bpfRecordKindREC_TCP_STATE, event.TCPState, bpfEventSizeSIZE_TCP_STATE, state},
		{bpfRecordKindREC_DUP, event.Dup, bpfEventSize(unsafe.Sizeof(whole)), dup},
	} {
		whole.Kind, c.want.Kind = uint32(c.kind), c.is
		sent := bytesOf(whole)[:c.size]
		var got event.Event
		if isStack, err := Decode(sent, &got, nil); isStack || err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v %v\n got %+v\nwant %+v", isStack, err, got, c.want)
		}
		if _, err := Decode(sent[:len(sent)-1], &got, nil); !errors.Is(err, ErrShort) {
			t.Errorf("kind %d, a byte short: %v", c.kind, err)
		}
	}
}

func TestDecodeExecFDs(t *testing.T) {
	record := bpfExecFds{Kind: uint32(bpfRecordKindREC_EXEC_FDS), Pid: 1, Time: 2, Start: 3, Table: 4, First: 4096, Count: 128}
	record.Open[0], record.Open[1] = 0x8000000000000001, 0x0100
	want := event.Event{
		Kind: event.ExecFDs, PID: 1, TID: 1, Time: 2, Start: 3, Table: 4, FD: 4096, FD2: 4223,
		OpenFDs: []byte{1, 0, 0, 0, 0, 0, 0, 0x80, 0, 1, 0, 0, 0, 0, 0, 0},
	}
	var got event.Event
	if _, err := Decode(bytesOf(record), &got, nil); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	record.Count = 1 << 20
	if _, err := Decode(bytesOf(record), &got, nil); !errors.Is(err, ErrShort) {
		t.Errorf("a million descriptors in one record: %v", err)
	}
}

func TestDecodeStack(t *testing.T) {
	record := bpfStackRecord{Kind: uint32(bpfRecordKindREC_STACK), Pid: 1, Start: 2, Id: 3, Caller: 4, Depth: 2}
	record.Ip[0], record.Ip[1], record.Ip[2] = 5, 6, 7
	full := bytesOf(record)
	sent := full[:unsafe.Offsetof(record.Ip)+16]
	want := stack.Raw{ID: 3, Process: event.ProcessKey{PID: 1, Start: 2}, Caller: 4, Addresses: []uint64{5, 6}}
	var got stack.Raw
	isStack, err := Decode(sent, nil, &got)
	if !isStack || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v\n got %+v\nwant %+v", isStack, err, got, want)
	}
	if _, err := Decode(sent[:len(sent)-1], nil, &got); !errors.Is(err, ErrShort) {
		t.Errorf("a byte short: %v", err)
	}
}

func TestDecodeRow(t *testing.T) {
	record := bpfRow{
		Time: 1, Start: 2, Table: 3, Inode: 4, PeerInode: 5, BytesIn: 6, BytesOut: 7, Pid: 8, Fd: 9,
		RecvQ: 10, SendQ: 11, LastRx: 250, LastTx: 0xffffffff, Err: 104, Netns: 12,
		Unacked: 13, Retransmits: 14, Probes: 15,
		Flags: uint16(bpfRowFlagROW_BEGUN | bpfRowFlagROW_WAITERS | bpfRowFlagROW_SND_SHUTDOWN | bpfRowFlagROW_PEER_GONE),
		Known: uint16(bpfRowKnownKNOWN_QUEUES | bpfRowKnownKNOWN_WAITERS | bpfRowKnownKNOWN_DELIVERY),
		Sock:  bpfSockDesc{Family: 2, Type: 1, Protocol: 6, State: event.StateClose, Local: [16]uint8{10, 0, 0, 1}, RemotePort: 443, Remote: [16]uint8{10, 0, 0, 2}},
		Comm:  name16("x"),
	}
	// Eight bytes of a path, of which the last two are zero, and an abstract name.
	record.LocalName, record.RemoteName = 8, 6
	bytes := append(bytesOf(record), "/run/a\x00\x00\x00peer\x00"...)
	want := event.Row{
		Time: 1, PID: 8, Start: 2, Table: 3, FD: 9, Inode: 4, Comm: [16]byte{'x'},
		Sock: event.Sock{Family: 2, Type: 1, Protocol: 6, State: event.StateClose, Remote: netip.MustParseAddrPort("10.0.0.2:443")},
		Facts: event.Facts{
			Known: event.KnownQueues | event.KnownWaiters | event.KnownDelivery, NetNS: 12, PeerInode: 5, PeerGone: true, Names: &event.UnixNames{Local: "/run/a", Remote: "@peer@"}, Err: 104, RecvQ: 10, SendQ: 11,
			LastRx: 1e9, LastTx: 0, // a jiffy in the future
			Unacked: 13, Retransmits: 14, Probes: 15, BytesIn: 6, BytesOut: 7, Begun: true, Waiters: true, SndShutdown: true,
		},
	}
	var got event.Row
	again := slices.Clone(bytes)
	for range 2 { // the second time over what the first left
		if err := DecodeRow(bytes, 250, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
	}
	if !slices.Equal(bytes, again) {
		t.Error("decoding changed the record")
	}
	if err := DecodeRow(bytes[:len(bytes)-1], 250, &got); !errors.Is(err, ErrShort) {
		t.Errorf("a byte short: %v", err)
	}
}

// Rows that were put one after the other come apart again, whatever names they
// have; what isn't complete does not come.
func TestRows(t *testing.T) {
	var all []byte
	var want, got [][]byte
	for _, names := range []string{"", "/run/a", "", "\x00b\x00"} {
		row := append(bytesOf(bpfRow{RemoteName: uint8(len(names))}), names...)
		want, all = append(want, row), append(all, row...)
	}
	for cut := range rowSize {
		got = nil
		for row := range Rows(append(all, make([]byte, cut)...)) {
			got = append(got, row)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("and %d bytes more:\n got %d rows\nwant %d", cut, len(got), len(want))
		}
	}
}

// The bits of the two sets are the same, which DecodeRow relies on.
func TestFactSets(t *testing.T) {
	for kernel, ours := range map[bpfRowKnown]event.FactSet{
		bpfRowKnownKNOWN_QUEUES: event.KnownQueues, bpfRowKnownKNOWN_ACTIVITY: event.KnownActivity,
		bpfRowKnownKNOWN_BYTES: event.KnownBytes, bpfRowKnownKNOWN_HISTORY: event.KnownHistory,
		bpfRowKnownKNOWN_WAITERS: event.KnownWaiters, bpfRowKnownKNOWN_KEEPALIVE: event.KnownKeepAlive,
		bpfRowKnownKNOWN_BOUND: event.KnownBound, bpfRowKnownKNOWN_DESCRIPTOR: event.KnownDescriptor,
		bpfRowKnownKNOWN_DELIVERY: event.KnownDelivery, bpfRowKnownKNOWN_PEER: event.KnownPeer,
	} {
		if uint16(kernel) != uint16(ours) {
			t.Errorf("%#x is not %#x", kernel, ours)
		}
	}
}

// Every kind of record of the kernel side is decoded, and none besides.
func TestKinds(t *testing.T) {
	seen := map[event.Kind]bool{}
	for k := bpfRecordKindREC_SOCKET; k <= bpfRecordKindREC_USE; k++ {
		if k == bpfRecordKindREC_EXEC_FDS || k == bpfRecordKindREC_STACK {
			continue
		}
		kind := kindOf(k)
		if kind == 0 || seen[kind] {
			t.Errorf("record kind %d is event kind %d", k, kind)
		}
		seen[kind] = true
	}
	var ev event.Event
	for _, k := range []uint32{0, uint32(bpfRecordKindREC_USE) + 1, 1 << 31} {
		record := bytesOf(bpfEvent{Kind: k})
		if _, err := Decode(record, &ev, nil); !errors.Is(err, ErrKind) {
			t.Errorf("kind %d: %v", k, err)
		}
	}
}

// doctor asks for the hooks that are used, and for no others.
func TestPreflightKnowsHooks(t *testing.T) {
	var used []string
	for _, h := range hooks() {
		used = append(used, h.name)
	}
	checked := preflight.Hooks("amd64")
	slices.Sort(used)
	slices.Sort(checked)
	if !slices.Equal(used, checked) {
		t.Errorf("used\n%v\nchecked\n%v", used, checked)
	}
}

// Programs serve several hooks, and one for the return of a call would attach at its
// entry too, and read other things there than it means to. None is left without a hook.
func TestHooksAndPrograms(t *testing.T) {
	var programs bpfPrograms
	fields := reflect.ValueOf(&programs).Elem()
	unused := map[string]bool{}
	names := map[*ebpf.Program]string{}
	for i := range fields.NumField() {
		program, name := new(ebpf.Program), fields.Type().Field(i).Name
		fields.Field(i).Set(reflect.ValueOf(program))
		names[program] = name
		unused[name] = strings.HasPrefix(name, "Enter") || strings.HasPrefix(name, "Exit")
	}
	for _, h := range hooks() {
		name := names[h.program(&programs)]
		unused[name] = false
		if entry := strings.HasPrefix(h.name, "sys_enter_"); entry != strings.HasPrefix(name, "Enter") {
			t.Errorf("%s has the program %s", h.name, name)
		}
	}
	for name, is := range unused {
		if is {
			t.Errorf("%s is attached to nothing", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(bytesOf(bpfEvent{Kind: uint32(bpfRecordKindREC_SOCKET)}))
	f.Add(bytesOf(bpfExecFds{Kind: uint32(bpfRecordKindREC_EXEC_FDS), Count: 4096}))
	f.Add(bytesOf(bpfStackRecord{Kind: uint32(bpfRecordKindREC_STACK), Depth: 127}))
	f.Fuzz(func(t *testing.T, record []byte) {
		var ev event.Event
		var raw stack.Raw
		isStack, err := Decode(record, &ev, &raw)
		if err == nil && isStack == (ev.Kind != 0) {
			t.Errorf("a stack and an event, or neither: %v, kind %d", isStack, ev.Kind)
		}
		if len(raw.Addresses) > 127 || ev.FD2 < ev.FD && ev.Kind == event.ExecFDs {
			t.Errorf("out of range: %+v %+v", raw, ev)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add(bytesOf(bpfRow{Sock: bpfSockDesc{Family: 2}}), uint64(250))
	f.Fuzz(func(t *testing.T, record []byte, hz uint64) {
		var row event.Row
		err := DecodeRow(record, hz, &row)
		if whole := nextRow(record); (err == nil) != (whole != nil && len(whole) == len(record) && hz != 0) {
			t.Errorf("%d bytes, hz %d: %v", len(record), hz, err)
		}
	})
}
