package casebook

import (
	"reflect"
	"testing"
	"time"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// TestProtocol feeds a program's lines and asks what was known when.
func TestProtocol(t *testing.T) {
	p := &Program{Case: &Case{}, ready: make(chan struct{})}
	begin := time.Now()
	second := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
	for i, line := range []string{"ready", "peer 127.0.0.1:53", "leaked 1", "peer 127.0.0.1:53", "leaked 3", "leaked 2", "leaked 7 dead"} {
		if err := p.heard(line, second(i)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"leaked", "leaked many", "lost 3", ""} {
		if err := p.heard(line, second(9)); err == nil {
			t.Errorf("%q was understood", line)
		}
	}
	for _, tt := range []struct {
		class string
		want  []int
	}{{"", []int{0, 0, 1, 1, 3, 3, 3}}, {"dead", []int{0, 0, 0, 0, 0, 0, 7}}} {
		var got []int
		for i := range tt.want {
			got = append(got, p.leakedAt(second(i), tt.class))
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("leaked %v of class %q, want %v", got, tt.class, tt.want)
		}
	}
	if want := []string{"127.0.0.1:53"}; !reflect.DeepEqual(p.knownPeers(), want) {
		t.Errorf("peers %v, want %v", p.knownPeers(), want)
	}
}

// finding makes one at dial in dns.c, with a peer.
func finding(class verdict.Class, count, line int) verdict.Finding {
	culprit := 0
	return verdict.Finding{
		Class: class, Count: count, States: map[string]int{"CLOSE": count},
		Peers: []verdict.Peer{{Address: "127.0.0.1:53", Count: count}},
		Origin: verdict.Origin{
			Quality: stack.Complete, Culprit: &culprit,
			Frames: []stack.Frame{{Function: "dial(int)", File: "/src/dns.c", Line: line}},
		},
		Sockets: []verdict.Socket{{Holders: []verdict.Holder{{PID: 1, FD: 3, Comm: "dns"}}}},
	}
}

// TestLate: only a rule that needs no time of its own has a bound.
func TestLate(t *testing.T) {
	const bound = 14 * time.Second
	tests := []struct {
		name  string
		want  []Want
		named time.Duration
		out   string
	}{
		{name: "in time", want: []Want{{Class: verdict.Dead}}, named: bound},
		{name: "late", want: []Want{{Class: verdict.Dead}, {Class: verdict.PeerClosed}}, named: bound + time.Second,
			out: "first correct finding with its origin after 15.0 s, want 14.0 s at most"},
		{name: "never", want: []Want{{Class: verdict.Dead}}, named: -1},
		{name: "by silence", want: []Want{{Class: verdict.HalfOpen, Lag: idle}}, named: 3 * bound},
		{name: "by growth", want: []Want{{Class: verdict.Growing}}, named: 3 * bound},
		{name: "healthy", named: -1},
	}
	for _, tt := range tests {
		r := result{program: &Program{Case: &Case{Want: tt.want}}, named: tt.named}
		if got := r.late(5 * time.Second); got != tt.out {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.out)
		}
	}
}

// TestShort: a finding's line names all that the report names.
func TestShort(t *testing.T) {
	f := finding(verdict.Abandoned, 5, 7)
	asked := 1
	frames := []stack.Frame{{Function: "connect", File: "node:net", Line: 1}, {Function: "check", File: "/src/health.js", Line: 30}}
	f.RequestedAt = &verdict.Requested{Frames: frames, Culprit: &asked}
	both := short(&f)
	f.RequestedAt.Culprit = nil
	made := short(&f)
	f.Origin.Culprit = nil
	got := []string{both, made, short(&f)}
	want := []string{"abandoned 5 at dial(int) (dns.c:7) asked for at check (health.js:30)", "abandoned 5 at dial(int) (dns.c:7)", "abandoned 5"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestJudge: what is as wanted passes, and everything else is told.
func TestJudge(t *testing.T) {
	known := fact{counts: []bounds{{4, 6}, {4, 6}}, peers: []string{"127.0.0.1:53"}, lines: []string{"dns.c:7", "dns.c:7"}}
	want := Want{Class: verdict.Dead, Function: "dial", States: []string{"CLOSE"}, Holder: "dns"}
	with := func(change func(*Want)) []Want {
		w := want
		change(&w)
		return []Want{w}
	}
	nowhere := finding(verdict.Dead, 5, 7)
	nowhere.Origin = verdict.Origin{Quality: stack.None, Reason: "no stack"}
	tests := []struct {
		name string
		want []Want
		got  []verdict.Finding
		out  judgement
	}{
		{name: "as wanted", want: []Want{want}, got: []verdict.Finding{finding(verdict.Dead, 5, 7)}},
		{name: "healthy", want: nil},
		{name: "healthy accused", got: []verdict.Finding{finding(verdict.Growing, 5, 7)},
			out: judgement{accusations: []string{"not wanted: growing 5 at dial(int) (dns.c:7)"}}},
		{name: "nothing found", want: []Want{want},
			out: judgement{missing: []string{"0 findings dead, want 1"}}},
		{name: "found twice", want: []Want{want}, got: []verdict.Finding{finding(verdict.Dead, 2, 7), finding(verdict.Dead, 3, 7)},
			out: judgement{missing: []string{"2 findings dead, want 1"}}},
		{name: "another class", want: []Want{want}, got: []verdict.Finding{finding(verdict.PeerClosed, 5, 7)},
			out: judgement{
				accusations: []string{"not wanted: peer-closed 5 at dial(int) (dns.c:7)"},
				missing:     []string{"0 findings dead, want 1"},
			}},
		{name: "too many", want: []Want{want}, got: []verdict.Finding{finding(verdict.Dead, 7, 7)},
			out: judgement{missing: []string{"dead: count 7, want 4 to 6"}}},
		{name: "too few", want: []Want{want}, got: []verdict.Finding{finding(verdict.Dead, 3, 7)},
			out: judgement{missing: []string{"dead: count 3, want 4 to 6"}}},
		{name: "two classes", want: []Want{want, {Class: verdict.PeerClosed, Function: "dial"}},
			got: []verdict.Finding{finding(verdict.PeerClosed, 4, 7), finding(verdict.Dead, 6, 7)}},
		{name: "one class taken for the other", want: []Want{want, {Class: verdict.PeerClosed, Function: "dial"}},
			got: []verdict.Finding{finding(verdict.PeerClosed, 1, 7), finding(verdict.Dead, 9, 7)},
			out: judgement{missing: []string{"dead: count 9, want 4 to 6", "peer-closed: count 1, want 4 to 6"}}},
		{name: "another line", want: []Want{want}, got: []verdict.Finding{finding(verdict.Dead, 5, 8)},
			out: judgement{origins: []string{"origin dial(int) (dns.c:8), want dial (dns.c:7)"}}},
		{name: "another function", want: with(func(w *Want) { w.Function = "dia" }), got: []verdict.Finding{finding(verdict.Dead, 5, 7)},
			out: judgement{origins: []string{"origin dial(int) (dns.c:7), want dia (dns.c:7)"}}},
		{name: "no origin", want: []Want{want}, got: []verdict.Finding{nowhere},
			out: judgement{origins: []string{"no origin (none no stack), want dial (dns.c:7)"}}},
		{name: "no origin wanted", want: with(func(w *Want) { w.NoOrigin = "of the loop" }), got: []verdict.Finding{nowhere}},
		{name: "an origin too many", want: with(func(w *Want) { w.NoOrigin = "of the loop" }), got: []verdict.Finding{finding(verdict.Dead, 5, 7)},
			out: judgement{origins: []string{"origin dial(int) (dns.c:7), but want none: of the loop"}}},
		{name: "another peer", want: with(func(w *Want) { w.Peer = "127.0.0.2" }), got: []verdict.Finding{finding(verdict.Dead, 5, 7)},
			out: judgement{missing: []string{"peer 127.0.0.1:53, want [127.0.0.2]"}}},
		{name: "a peer without port", want: with(func(w *Want) { w.Peer = "127.0.0.1" }), got: []verdict.Finding{finding(verdict.Dead, 5, 7)}},
		{name: "another state", want: with(func(w *Want) { w.States = []string{"ESTAB"} }), got: []verdict.Finding{finding(verdict.Dead, 5, 7)},
			out: judgement{missing: []string{"states map[CLOSE:5], want ESTAB among them"}}},
		{name: "another holder", want: with(func(w *Want) { w.Holder = "sleep" }), got: []verdict.Finding{finding(verdict.Dead, 5, 7)},
			out: judgement{missing: []string{"no socket is held by sleep"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(&Case{Want: tt.want}, tt.got, known); !reflect.DeepEqual(got, tt.out) {
				t.Errorf("got  %+v\nwant %+v", got, tt.out)
			}
		})
	}
}

// TestCases holds for all cases what the tests that run them rely on.
func TestCases(t *testing.T) {
	names := map[string]bool{}
	for _, c := range append(stories(), further()...) {
		if names[c.Name] {
			t.Errorf("two cases are called %s", c.Name)
		}
		names[c.Name] = true
		if c.Language == "" || c.Does == "" {
			t.Errorf("%s: no language, or no word about what it does", c.Name)
		}
		for _, w := range c.Want {
			if (w.Function == "") == (w.NoOrigin == "") {
				t.Errorf("%s: %s: want either a function or a reason why there is none", c.Name, w.Class)
			}
			if w.NoOrigin != "" {
				continue
			}
			if _, err := line(c.path(t), w.Mark); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
}

// TestReplaceTable: each test's table is its own.
func TestReplaceTable(t *testing.T) {
	old := "# Book\n<!-- a -->\nold\n<!-- end of a -->\ntext\n<!-- b -->\nkept\n<!-- end of b -->\n"
	got, err := replaceTable([]byte(old), "a", "| new |\n")
	if err != nil {
		t.Fatal(err)
	}
	want := "# Book\n<!-- a -->\n| new |\n<!-- end of a -->\ntext\n<!-- b -->\nkept\n<!-- end of b -->\n"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := replaceTable([]byte(old), "c", ""); err == nil {
		t.Error("a table without marks was replaced")
	}
}
