package verdict

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sockleak/internal/event"
)

var update = flag.Bool("update", false, "write what the findings are now into testdata")

// TestFindings compares whole findings, one file for each class.
func TestFindings(t *testing.T) {
	for name, do := range map[string]func(w *world){
		"never-used": func(w *world) {
			w.socket(7)
			w.sleep(second)
			w.create(event.Socket, app, 7, unixStream())
			w.watch(10 * second)
		},
		"never-used-ended": func(w *world) {
			w.socket(7)
			w.socket(7)
			w.exit(app)
			w.watch(2 * second)
		},
		"connect-pending": func(w *world) {
			w.dial(w.socket(7), server)
			w.watch(10 * second)
		},
		"connect-failed": func(w *world) {
			w.refuse(w.socket(7), server)
			w.refuse(w.socket(7), other)
			s := w.socket(7)
			w.dial(s, server)
			w.state(s, event.StateClose, etimedout)
			w.connected(w.create(event.Socket, app, 7, unixStream()), netip.AddrPort{}, 2)
			w.watch(10 * second)
		},
		"peer-closed-inferred": func(w *world) {
			w.beforeAt(event.StateCloseWait, server).facts.RecvQ = 1
			w.beforeAt(event.StateCloseWait, server).facts.Waiters = true
			w.look()
			s := w.connect(w.socket(7), server)
			s.facts.BytesIn, s.facts.KeepAlive, s.facts.CloseOnExec, s.facts.NetNS = 100, true, true, 4026531840
			w.send(s)
			w.sleep(second)
			w.fin(s, 100)
			w.watch(10 * second)
		},
		"peer-closed-rivals": func(w *world) {
			w.beforeAt(event.StateCloseWait, server)
			w.look()
			for stack := range uint64(2) {
				w.fin(w.connect(w.socket(7+stack), server), 0)
			}
			w.watch(10 * second)
		},
		"peer-closed-mptcp": func(w *world) {
			s := w.create(event.Socket, app, 7, mptcp())
			w.connect(s, server)
			w.fin(s, 0)
			w.watch(10 * second)
		},
		"dead": func(w *world) {
			s := w.connect(w.socket(7), server)
			s.facts.RecvQ = 500
			w.reset(s)
			s = w.connect(w.socket(7), other)
			w.state(s, event.StateClose, 0)
			w.watch(10 * second)
		},
		"dead-listener": func(w *world) {
			s := w.socket(7)
			w.listen(s)
			w.state(s, event.StateClose, 0)
			w.watch(10 * second)
		},
		"growing": func(w *world) {
			w.watch(24*second, func(int) { w.create(event.Socket, app, 7, udp()) })
		},
		"abandoned": func(w *world) {
			w.watch(108*second, func(i int) {
				if s := w.connect(w.socket(7), server); i < 10 {
					w.receive(s, 5000)
					s.facts.RecvQ = 4000
				}
			})
		},
		"half-closed": func(w *world) {
			w.state(w.connect(w.socket(7), server), event.StateFinWait2, 0)
			w.watch(10 * second)
		},
		"half-open": func(w *world) {
			s := w.connect(w.socket(7), server)
			w.unanswered(s, 10)
			s = w.connect(w.socket(7), other)
			s.facts.KeepAlive, s.facts.Probes = true, 3
			s.facts.Known |= event.KnownDelivery
			w.watch(110 * second)
		},
		"superseded": func(w *world) {
			newest := func(int) { w.send(w.socks[len(w.socks)-2]); w.send(w.socks[len(w.socks)-1]) }
			for _, port := range []uint16{1, 2, 3} {
				w.accept(7, netip.AddrPortFrom(server.Addr(), port))
				w.accept(7, netip.AddrPortFrom(other.Addr(), port))
				w.watch(4*second, newest)
			}
			w.watch(110*second, newest)
		},
		"inherited": func(w *world) {
			w.connect(w.socket(7), server)
			w.fork(app, 2)
			w.fork(app, 3)
			w.exec(2)
			w.exec(3)
			w.closeIn(app, w.socks[0])
			w.watch(10 * second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			do(w)
			got, err := json.MarshalIndent(w.findings(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("not as in %s (-update writes it):\n%s", path, got)
			}
		})
	}
}

// TestOrder: the findings come in the same order whatever the maps do.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	w.look()
	for stack := range uint64(9) {
		w.socket(7 + stack)
	}
	for range 2 {
		w.reset(w.connect(w.socket(20), server))
	}
	for range 3 {
		w.reset(w.connect(w.socket(21), server))
	}
	w.create(event.Socket, 2, 22, tcp())
	w.watch(8 * second)
	var order []string
	for _, f := range w.findings() {
		order = append(order, f.Origin.Frames[0].Function)
	}
	want := []string{"at_21", "at_20", "at_7", "at_8", "at_9", "at_10", "at_11", "at_12", "at_13", "at_14", "at_15", "at_22"}
	for i := range want {
		if len(order) != len(want) || order[i] != want[i] {
			t.Fatalf("got %v, want %v", order, want)
		}
	}
}

func TestEvidenceWords(t *testing.T) {
	for _, test := range []struct {
		k, n int
		want string
	}{{1, 1, "it has"}, {1, 2, "1 of 2 has"}, {2, 2, "both have"}, {2, 3, "2 of 3 have"}, {3, 3, "all 3 have"}, {1000, 2000, "1,000 of 2,000 have"}} {
		if got := share(test.k, test.n, "has", "have"); got != test.want {
			t.Errorf("%d of %d: %q, want %q", test.k, test.n, got, test.want)
		}
	}
}

func TestEveryClassHasAdvice(t *testing.T) {
	for _, c := range []Class{NeverUsed, ConnectPending, ConnectFailed, PeerClosed, Dead, Growing, Inherited} {
		if advice(c) == "" {
			t.Errorf("%s has no advice", c)
		}
	}
}

// TestEachConditionIsLookedAtTwice: the looks at one don't count for the next.
func TestEachConditionIsLookedAtTwice(t *testing.T) {
	w := newWorld(t)
	w.judge = NewJudge(Patience{0, DefaultIdle}, 0)
	s := w.connect(w.socket(7), server)
	w.fin(s, 1)
	w.watch(4 * second)
	w.reset(s)
	w.look()
	if got := w.brief(); got != nil {
		t.Errorf("after one look: %q", got)
	}
	w.look()
	if got, want := w.brief(), "1 dead, medium, at_7"; len(got) != 1 || got[0] != want {
		t.Errorf("after two: %q, want %q", got, want)
	}
}

func TestMinAge(t *testing.T) {
	for _, minAge := range []time.Duration{0, second, 20 * second} {
		w := newWorld(t)
		w.judge = NewJudge(Patience{minAge, DefaultIdle}, 0)
		w.socket(7)
		w.socket(7)
		for i := range 20 {
			w.sleep(2 * second)
			w.look()
			age := time.Duration(2*(i+1)) * second
			if got, want := len(w.findings()) == 1, i > 0 && age >= minAge; got != want {
				t.Errorf("grace time %v: found at %v: %v", minAge, age, got)
			}
		}
	}
}
