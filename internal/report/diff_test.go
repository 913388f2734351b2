package report

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"sockleak/internal/event"
	"sockleak/internal/verdict"
)

// baseline is the snapshot of rows ten minutes before snapshotInfo, written and
// read again.
func baseline(t *testing.T, rows []event.Row, change func(*SnapshotInfo)) *Snapshot {
	t.Helper()
	info := snapshotInfo()
	info.Time = info.Time.Add(-10 * time.Minute)
	if change != nil {
		change(&info)
	}
	s := NewSnapshot(rows, info)
	read, err := ReadSnapshot(strings.NewReader(jsonOf(t, s.JSON)))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func diffOf(t *testing.T, base *Snapshot, rows []event.Row) *Diff {
	t.Helper()
	d, err := NewDiff(base, rows, snapshotInfo())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// later are snapshotRows after the crawler leaked connections to one peer, the
// worker accepted some from one, and what had been there changed: a socket of
// the crawler is in CLOSE-WAIT now, one was closed and another has two
// descriptors more; the worker is a new process with the number of the old one.
func later() []event.Row {
	rows := snapshotRows()
	rows[2].Sock.State = event.StateCloseWait
	rows = append(rows[:3], rows[5:]...) // both descriptors of 102
	known := event.Facts{Known: established, NetNS: 1}
	rows[1].Facts.NetNS = 1
	crawler := func(fd int32, inode uint64, local string) event.Row {
		return rowOf(4242, "crawler", fd, inode, tcpSock(event.StateCloseWait, local, "10.0.0.1:443"), known)
	}
	accepted := func(fd int32, inode uint64, peer string) event.Row {
		return rowOf(4243, "worker", fd, inode, tcpSock(event.StateEstablished, "10.0.0.5:80", peer), known)
	}
	rows = append(rows,
		crawler(40, 400, "10.0.0.5:4100"), crawler(41, 401, "10.0.0.5:4101"), crawler(50, 401, "10.0.0.5:4101"),
		crawler(42, 402, "10.0.0.5:4102"),
		accepted(30, 500, "10.9.9.9:50001"), accepted(31, 501, "10.9.9.9:50002"),
		rowOf(4243, "worker", 32, 502, event.Sock{Family: unix, Type: stream, State: event.StateEstablished},
			event.Facts{Known: event.KnownPeer, Names: &event.UnixNames{Remote: "/run/log.sock"}}),
		rowOf(4242, "crawler", 60, 100, tcpSock(event.StateListen, "0.0.0.0:80", ""), known),
	)
	return rows
}

func TestDiff(t *testing.T) {
	info := snapshotInfo()
	crawler := Holding{PID: 4242, Start: 42420, Comm: "crawler", Exe: ptr(crawlerExe)}
	worker := Holding{PID: 4243, Start: 42430, Comm: "worker", Container: containerID}
	want := &Diff{
		Schema: DiffSchema, Time: info.Time, Since: info.Time.Add(-10 * time.Minute), Scope: info.Scope,
		Kernel: info.Kernel, Version: info.Version, Totals: DiffTotals{New: 6, Gone: 1, Kept: 12},
		Groups: []DiffGroup{
			{Process: crawler, NetID: "tcp", Family: "inet", Type: "stream", Protocol: "tcp", State: "CLOSE-WAIT",
				Peer: ptr("10.0.0.1:443"), Locals: []verdict.Peer{}, Count: 3, FDs: "40-42,50", Inodes: []uint64{400, 401, 402}},
			{Process: worker, NetID: "tcp", Family: "inet", Type: "stream", Protocol: "tcp", State: "ESTAB",
				Peer: ptr("10.9.9.9"), Locals: []verdict.Peer{{Address: "10.0.0.5:80", Count: 2}}, Count: 2, FDs: "30-31", Inodes: []uint64{500, 501}},
			{Process: worker, NetID: "u_str", Family: "unix", Type: "stream", State: "ESTAB",
				Peer: ptr("/run/log.sock"), Locals: []verdict.Peer{}, Count: 1, FDs: "32", Inodes: []uint64{502}},
		},
	}
	if got := diffOf(t, baseline(t, snapshotRows(), nil), later()); !reflect.DeepEqual(got, want) {
		t.Errorf("NewDiff =\n%s\nwant\n%s", jsonOf(t, got.JSON), jsonOf(t, want.JSON))
	}
}

// A process number that is another process's now, or a connection from another
// network namespace than the listener's, is not taken for the same.
func TestDiffTellsApart(t *testing.T) {
	before := rowOf(7, "a", 3, 100, tcpSock(event.StateListen, "0.0.0.0:80", ""), event.Facts{NetNS: 1})
	again := before
	again.Start++
	other := rowOf(8, "b", 3, 101, tcpSock(event.StateEstablished, "10.0.0.5:80", "10.9.9.9:50001"), event.Facts{NetNS: 2})
	d := diffOf(t, baseline(t, []event.Row{before}, nil), []event.Row{again, other})
	if want := (DiffTotals{New: 2, Gone: 1}); d.Totals != want {
		t.Errorf("totals = %+v, want %+v", d.Totals, want)
	}
	var peers []string
	for _, g := range d.Groups {
		if g.Peer != nil {
			peers = append(peers, *g.Peer)
		}
	}
	if want := []string{"10.9.9.9:50001"}; !reflect.DeepEqual(peers, want) {
		t.Errorf("peers %q, want %q", peers, want)
	}
}

// A part of the system may be compared with a snapshot of all of it: what the
// rest has closed is not gone from that part.
func TestDiffOfAPart(t *testing.T) {
	base := baseline(t, snapshotRows(), nil)
	info := snapshotInfo()
	info.Scope = "pid 4243"
	var rows []event.Row
	for _, r := range later() {
		if r.PID == 4243 {
			rows = append(rows, r)
		}
	}
	d, err := NewDiff(base, rows, info)
	if err != nil {
		t.Fatal(err)
	}
	if want := (DiffTotals{New: 3, Kept: 5}); d.Totals != want {
		t.Errorf("totals = %+v, want %+v", d.Totals, want)
	}
}

func TestNoBaseline(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*SnapshotInfo)
		want   error
	}{
		{"another boot", func(i *SnapshotInfo) { i.BootID = "another" }, ErrOtherBoot},
		{"of a process", func(i *SnapshotInfo) { i.Scope = "pid 4242" }, ErrOtherScope},
	} {
		if _, err := NewDiff(baseline(t, nil, test.change), nil, snapshotInfo()); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestReadSnapshot(t *testing.T) {
	for text, want := range map[string]error{
		``: ErrNoSnapshot, `dear diary`: ErrNoSnapshot, `[]`: ErrNoSnapshot, `{}`: ErrNoSnapshot,
		`{"schema": "sockleak.report/v1"}`:                                                              ErrNoSnapshot,
		`{"schema": "sockleak.snapshot/v2", "version": "9"}`:                                            ErrOtherVersion,
		`{"schema": "sockleak.snapshot/v1", "version": "0.1.0", "groups": []}`:                          ErrOtherVersion, // before there was a boot_id
		`{"schema": "sockleak.snapshot/v1", "boot_id": "x", "version": "9", "groups": [{"inodes": 7}]}`: ErrOtherVersion,
	} {
		if _, err := ReadSnapshot(strings.NewReader(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := ReadSnapshot(io.MultiReader(strings.NewReader("{"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a read that fails: %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDiffGolden(t *testing.T) {
	base := baseline(t, snapshotRows(), nil)
	some, none := diffOf(t, base, later()), diffOf(t, base, snapshotRows())
	golden(t, "diff-json", []byte(jsonOf(t, some.JSON)))
	for name, write := range map[string]func(io.Writer) error{
		"diff-60":   func(w io.Writer) error { return some.Text(w, TextOptions{Width: 60}, 0) },
		"diff-80":   func(w io.Writer) error { return some.Text(w, TextOptions{Width: 80}, 2) },
		"diff-none": func(w io.Writer) error { return none.Text(w, TextOptions{Width: 80}, 0) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}
