package hunt

import (
	"bytes"
	"net/netip"
	"os"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/hosts"
	"sockleak/internal/procfs"
	"sockleak/internal/verdict"
)

// A recording has each name once, again when it has changed, and the last counts.
func TestRecordedHosts(t *testing.T) {
	one, two := event.ProcessKey{PID: 1, Start: 7}, event.ProcessKey{PID: 1, Start: 8}
	address, other := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	var file bytes.Buffer
	rec, err := newRecorder(&file, options{}, 100, 0, verdict.Report{})
	if err != nil {
		t.Fatal(err)
	}
	rec.host(one, address, "status.example")
	rec.host(one, address, "status.example")
	rec.host(two, address, "another process's")
	rec.host(one, other, "")
	rec.host(one, address, "renamed.example")
	if err := rec.close(); err != nil {
		t.Fatal(err)
	}
	known := lookedUp{origins: replayedOrigins{}, hosts: map[question]string{}}
	if err := known.read(&file); err != nil {
		t.Fatal(err)
	}
	want := map[question]string{{one, address}: "renamed.example", {two, address}: "another process's"}
	if len(known.hosts) != len(want) {
		t.Errorf("recorded are %v, want %v", known.hosts, want)
	}
	for question, name := range want {
		if got := known.hosts[question]; got != name {
			t.Errorf("%v is called %q, want %q", question, got, name)
		}
	}
}

// What a process calls an address is looked up anew in each look while it lives,
// and is what it was when it has ended.
func TestHostOfLiveAndEnded(t *testing.T) {
	self := uint32(os.Getpid())
	fs := procfs.New("/proc")
	info, err := fs.Process(self)
	if err != nil {
		t.Fatal(err)
	}
	const tick = 10_000_000 // ns
	living := event.ProcessKey{PID: self, Start: info.StartTicks * tick}
	ended := event.ProcessKey{PID: self, Start: living.Start + 100*tick} // its number is ours now
	var files hosts.Files
	ours, err := files.Below("/")
	if err != nil {
		t.Skipf("no /etc/hosts here: %v", err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	old := hosts.Parse("127.0.0.1 of-long-ago\n")

	l := &live{fs: fs, engine: &engine{names: newNames(nil, nil)}, rec: &recorder{}}
	for _, key := range []event.ProcessKey{living, ended} {
		l.engine.names.known[key] = described{ProcessKey: key, hosts: old}
	}
	ask := func(key event.ProcessKey, want string) {
		t.Helper()
		if got := l.host(key, loopback); got != want {
			t.Errorf("process %v calls %s %q, want %q", key, loopback, got, want)
		}
	}
	ask(living, "of-long-ago") // no look since it was described
	l.engine.last.Time = 1
	ask(living, ours.Name(loopback))
	ask(ended, "of-long-ago")
	ask(event.ProcessKey{PID: self}, "")
}
