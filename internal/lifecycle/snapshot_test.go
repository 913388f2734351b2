package lifecycle

import (
	"slices"
	"testing"

	"sockleak/internal/event"
)

func rows(r ...event.Row) []event.Row { return r }

func ofTable(table uint64, r event.Row) event.Row {
	r.Table = table
	return r
}

func alone(e event.Event) event.Event {
	e.Alone = true
	return e
}

func TestSnapshot(t *testing.T) {
	const second = 1e9
	first := snap{start: 100, end: 200, rows: rows(row(150, 1, 3, 100))}
	// Two processes share a table whose socket is closed while it is shown.
	emptied := []any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 10), at(158, event.Close, 1, 3, 100)}
	late := snap{start: 155, end: 200, rows: rows(row(156, 1, 3, 100), ofTable(10, row(157, 2, 3, 100)))}
	tests := map[string]struct {
		steps  []any
		want   []string
		totals Totals
	}{
		"what was there before": {[]any{first}, []string{"1:3=100 preexisting"}, Totals{Live: 1, Preexisting: 1}},
		"created before the row, told after it": {[]any{first, at(120, event.Socket, 1, 3, 100)},
			[]string{"1:3=100 created"}, Totals{Opened: 1, Live: 1}},
		"created as the row was read": {[]any{first, at(151, event.Socket, 1, 3, 100)},
			[]string{"1:3=100 created"}, Totals{Opened: 1, Live: 1}},
		"an event older than the row": {[]any{first, at(120, event.Dup, 1, 3, 101)},
			[]string{"1:3=100 preexisting"}, Totals{Live: 1, Preexisting: 1, Closed: 1}},
		"closed as the row was read": {[]any{first, at(149, event.Close, 1, 3, 100)}, nil, Totals{Closed: 1}},
		"closed, then shown by an older row": {[]any{at(1, event.Socket, 1, 3, 100), at(160, event.Close, 1, 3, 100), first},
			nil, Totals{Opened: 1, Closed: 1}},
		"closing, and shown by a newer row": {[]any{at(1, event.Socket, 1, 3, 100), at(149, event.Close, 1, 3, 100), first},
			nil, Totals{Opened: 1, Closed: 1}},
		"exited, then shown": {[]any{task(149, event.Exit, 1), first}, nil, Totals{}},
		"the table ended, then shown": {[]any{at(1, event.Socket, 1, 3, 100), task(149, event.TableExit, 1), first},
			nil, Totals{Opened: 1, Closed: 1}},
		"left by exec, then shown by an older row": {[]any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 10),
			on(11, from(10, task(160, event.Exec, 1))), on(11, openFDs(161, 1, 0, 63, 0)), task(162, event.Exit, 2), first},
			nil, Totals{Opened: 1, Closed: 1}},
		"closed by an exec before it was known": {[]any{from(10, task(160, event.Exec, 1)), openFDs(161, 1, 0, 63, 0), first}, nil, Totals{}},
		"a table id that was given to another before the row was told": {
			[]any{at(1, event.Socket, 1, 3, 100), on(11, at(2, event.Socket, 1, 3, 101)), on(11, task(160, event.TableExit, 1)),
				fork(161, 1, 2, 11), snap{start: 140, end: 200, rows: rows(row(141, 1, 3, 100), ofTable(11, row(150, 1, 4, 101)), ofTable(11, row(170, 2, 3, 100)))}},
			[]string{"1:3=100 created", "2:3=100 fork"}, Totals{Opened: 2, Closed: 1, Live: 1}},
		"left by unshare, then shown by an older row": {
			[]any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 10), alone(on(20, from(10, task(160, event.Unshare, 2)))), first,
				snap{start: 155, end: 200, rows: rows(row(156, 1, 3, 100), ofTable(10, row(157, 2, 3, 100)), row(170, 2, 3, 100))}},
			[]string{"1:3=100 created", "2:3=100 created"}, Totals{Opened: 1, Live: 1}},
		"a table without sockets left by unshare, then shown by an older row": {
			slices.Concat(emptied, []any{alone(on(20, from(10, task(160, event.Unshare, 2)))), late, at(300, event.Socket, 1, 4, 101)}),
			[]string{"1:4=101 created"}, Totals{Opened: 2, Closed: 1, Live: 1}},
		"a table without sockets left by exec, then shown by an older row": {
			slices.Concat(emptied, []any{from(10, task(160, event.Exec, 2)), late, at(300, event.Socket, 1, 4, 101)}),
			[]string{"1:4=101 created"}, Totals{Opened: 2, Closed: 1, Live: 1}},
		"a fork from before the row": {[]any{first, fork(120, 1, 2, 20)},
			[]string{"1:3=100 preexisting"}, Totals{Live: 1, Preexisting: 1}},
		"created and forked before the row, told after it": {
			[]any{snap{start: 140, end: 200, rows: rows(row(150, 2, 3, 100))}, at(110, event.Socket, 1, 3, 100), fork(120, 1, 2, 20),
				task(125, event.Exec, 2), at(130, event.Close, 1, 3, 100)},
			[]string{"2:3=100 fork exec"}, Totals{Opened: 1, Live: 1}},
		"forked before a row of a later snapshot, told after it": {
			[]any{snap{start: 1, end: 2}, at(110, event.Socket, 1, 3, 100), snap{start: 140, end: 200, rows: rows(row(145, 1, 3, 100), row(150, 2, 3, 100))},
				fork(120, 1, 2, 20), task(125, event.Exec, 2), at(210, event.Close, 1, 3, 100)},
			[]string{"2:3=100 fork exec"}, Totals{Opened: 1, Live: 1, Repaired: 1}},
		"forked while a later snapshot is taken, told after it": {
			[]any{snap{start: 1, end: 2}, at(110, event.Socket, 1, 3, 100), snap{start: 115, end: 200, rows: rows(row(117, 1, 3, 100), row(150, 2, 3, 100))},
				fork(120, 1, 2, 20), task(125, event.Exec, 2), at(210, event.Close, 1, 3, 100)},
			[]string{"2:3=100 fork exec"}, Totals{Opened: 1, Live: 1, Repaired: 1}},
		"passed to a child before its fork was told": {
			[]any{snap{start: 1, end: 2}, at(110, event.Socket, 1, 3, 100), at(111, event.Socket, 1, 4, 101),
				snap{start: 140, end: 200, rows: rows(row(145, 1, 3, 100), row(146, 1, 4, 101), row(150, 2, 3, 100), row(150, 2, 4, 101), row(150, 2, 9, 100))},
				fork(120, 1, 2, 20)},
			[]string{"1:3=100 created", "1:4=101 created", "2:3=100 fork", "2:4=101 fork", "2:9=100 received"}, Totals{Opened: 2, Live: 2, Repaired: 3}},
		"a lost close": {[]any{first, at(210, event.Socket, 1, 4, 101), snap{start: 300, end: 301, rows: rows(row(300, 1, 3, 100))}},
			[]string{"1:3=100 preexisting"}, Totals{Opened: 1, Closed: 1, Live: 1, Preexisting: 1, Repaired: 1}},
		"a lost creation, or SCM_RIGHTS": {[]any{first, snap{start: 300, end: 301, rows: rows(row(300, 1, 3, 100), row(301, 2, 9, 101))}},
			[]string{"1:3=100 preexisting", "2:9=101 received"}, Totals{Live: 2, Preexisting: 1, Received: 1, Repaired: 1}},
		"a lost close and creation": {[]any{first, snap{start: 300, end: 301, rows: rows(row(300, 1, 3, 101))}},
			[]string{"1:3=101 received"}, Totals{Closed: 1, Live: 1, Received: 1, Repaired: 1}},
		"installed since the snapshot began": {[]any{at(160, event.Socket, 1, 4, 101), first},
			[]string{"1:3=100 preexisting", "1:4=101 created"}, Totals{Opened: 1, Live: 2, Preexisting: 1}},
		"an old creation that isn't shown": {[]any{first, at(90, event.Socket, 1, 4, 101)},
			[]string{"1:3=100 preexisting"}, Totals{Opened: 1, Closed: 1, Live: 1, Preexisting: 1}},
		"passed by SCM_RIGHTS and closed by the sender": {[]any{snap{start: 1, end: 2}, at(10, event.Socket, 1, 3, 100),
			at(20, event.Close, 1, 3, 100), snap{start: second, end: second + 2, rows: rows(row(second+1, 2, 5, 100))}},
			[]string{"2:5=100 received"}, Totals{Opened: 1, Live: 1, Repaired: 1}},
		"a lost exit": {[]any{at(1, event.Socket, 1, 3, 100), fork(2, 1, 2, 10), first, snap{start: 300, end: 301, rows: rows(row(300, 1, 3, 100))}},
			[]string{"1:3=100 created"}, Totals{Opened: 1, Live: 1}},
		"a close_range that leaves doubt": {[]any{at(3, event.Socket, 1, 3, 100), closeRange(2, 4, 1, 0, 9)},
			[]string{"1:3=100 created"}, Totals{Opened: 1, Live: 1, Doubtful: 1}},
		"a doubt that is settled": {[]any{at(3, event.Socket, 1, 3, 100), closeRange(2, 4, 1, 0, 9), first},
			[]string{"1:3=100 created"}, Totals{Opened: 1, Live: 1}},
		"the inode number of a preexisting socket used again": {[]any{first, at(300, event.Socket, 2, 5, 100)},
			[]string{"2:5=100 created"}, Totals{Opened: 1, Closed: 1, Live: 1, Repaired: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			table := run(t, test.steps...)
			if got := held(table); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := table.Totals(); got != test.totals {
				t.Errorf("got %+v, want %+v", got, test.totals)
			}
		})
	}
}

func TestReceivedSocketKeepsItsOrigin(t *testing.T) {
	table := run(t, snap{start: 1, end: 2}, at(10, event.Socket, 1, 3, 100), at(20, event.Close, 1, 3, 100), task(30, event.Exit, 1))
	if !table.Known(100) || table.Known(101) {
		t.Error("a socket that was just closed isn't known, or one is that never was")
	}
	table.BeginSnapshot(1e9)
	r := row(1e9+1, 2, 5, 100)
	table.Row(&r)
	if got, want := table.EndSnapshot(1e9+2), (Repair{Added: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for s := range table.Sockets() {
		if s.Birth != 10 || s.Stack != 7 || s.Creator.PID != 1 || s.Closed != 0 {
			t.Errorf("its origin is lost: %+v", s)
		}
	}
}

func TestRowTellsTheState(t *testing.T) {
	shown := row(150, 1, 3, 100)
	shown.Sock.State = event.StateCloseWait
	shown.Facts = event.Facts{Known: event.KnownHistory | event.KnownDescriptor, WasEstablished: true, CloseOnExec: true, RecvQ: 1}
	again := shown
	again.Time = 250
	table := run(t, snap{start: 100, end: 200, rows: rows(shown)}, snap{start: 200, end: 300, rows: rows(again)},
		state(120, 100, event.StateEstablished, event.StateCloseWait))
	want := Socket{Inode: 100, Arrival: Preexisting, Sock: tcp(event.StateCloseWait), Established: true,
		StateSince: 120, StateSeen: 150, Seen: 250, Facts: again.Facts, refs: 1, place: placeLive}
	for s, holders := range table.Sockets() {
		if *s != want {
			t.Errorf("got  %+v\nwant %+v", *s, want)
		}
		if h := holders[0]; !h.CloseOnExec || !h.CloseOnExecKnown || s.InState() != 120 || s.Descriptors() != 1 {
			t.Errorf("got %+v, in state since %d", h, s.InState())
		}
	}
}
