package verdict

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sockleak/internal/event"
)

func limitsText(l []Limit) string {
	text, err := json.Marshal(l)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func sameLimit(a, b Limit) bool { return limitsText([]Limit{a}) == limitsText([]Limit{b}) }

func TestConclude(t *testing.T) {
	busy := Totals{Opened: 12345, Closed: 12340, Live: 5}
	heap := "if memory grows, look at the heap"
	tests := map[string]struct {
		report  Report
		doubts  Doubts
		verdict Verdict
		reasons []string
	}{
		"leak": {Report{Duration: 30, Totals: busy, Findings: []Finding{{Count: 1000}, {Count: 41}}}, Doubts{Suspects: 2000}, Leak,
			[]string{"1,041 sockets left open, from 2 origins"}},
		"one": {Report{Duration: 30, Totals: busy, Findings: []Finding{{Count: 1}}}, Doubts{Suspects: 1}, Leak,
			[]string{"1 socket left open, from 1 origin"}},
		"a leak says nothing of what winds down": {Report{Duration: 30, Totals: Totals{Winding: 3, TimeWait: pointer(uint64(9))},
			Loss: Loss{Loss: event.Loss{TableFull: 9}}, Findings: []Finding{{Count: 1}}}, Doubts{Suspects: 1}, Leak, []string{"1 socket left open, from 1 origin"}},
		"more than the table holds": {Report{Duration: 30, Totals: busy, Loss: Loss{Loss: event.Loss{TableFull: 1000}}}, Doubts{}, Inconclusive,
			[]string{"1,000 sockets are more than --max-sockets allows and were not followed"}},
		"one more than the table holds": {Report{Duration: 30, Totals: busy, Loss: Loss{Loss: event.Loss{TableFull: 1}}}, Doubts{}, Inconclusive,
			[]string{"1 socket is more than --max-sockets allows and was not followed"}},
		"suspects": {Report{Duration: 9, Totals: busy}, Doubts{Suspects: 3}, Inconclusive,
			[]string{"3 sockets are in a condition that leaks have, but not yet for 5 s: trace longer, or lower --min-age"}},
		"a suspect": {Report{Duration: 2, Totals: busy}, Doubts{Suspects: 1}, Inconclusive,
			[]string{"1 socket is in a condition that leaks have, but not yet for 5 s: trace longer, or lower --min-age"}},
		"too short": {Report{Duration: 2, Totals: busy}, Doubts{}, Inconclusive,
			[]string{"watched for 2 s only, less than the grace time of 5 s"}},
		"no leak": {Report{Duration: 30, Totals: busy}, Doubts{}, NoLeak,
			[]string{"12,345 opened, 12,340 closed, 5 live: none of them in a condition that a leak has, and no origin's sockets only become more", heap}},
		"no leak, and suspects that come and go": {Report{Duration: 30, Totals: busy}, Doubts{Suspects: 2}, NoLeak,
			[]string{"12,345 opened, 12,340 closed, 5 live: none of them for long enough in a condition that a leak has, and no origin's sockets only become more", heap}},
		"no leak, too short for growth": {Report{Duration: 19, Totals: busy}, Doubts{}, NoLeak,
			[]string{"12,345 opened, 12,340 closed, 5 live: none of them in a condition that a leak has",
				"whether an origin's sockets only become more takes 20 s to tell", heap}},
		"ended early": {Report{Duration: 2, Totals: Totals{Opened: 3, Closed: 3}}, Doubts{}, NoLeak,
			[]string{"3 opened, 3 closed, 0 live: none of them in a condition that a leak has", heap}},
		"nothing at all": {Report{Duration: 30}, Doubts{}, NoLeak, []string{"no socket was open, and none was opened"}},
		"only from before": {Report{Duration: 30, Totals: Totals{Live: 2, Preexisting: 2}}, Doubts{}, NoLeak,
			[]string{"0 opened, 0 closed, 2 live: none of them in a condition that a leak has, and no origin's sockets only become more", heap}},
		"losses": {Report{Duration: 30, Totals: busy, Loss: Loss{Loss: event.Loss{RingFull: 1000, ProbeSkipped: 1, StackMissing: 5}}}, Doubts{}, NoLeak,
			[]string{"12,345 opened, 12,340 closed, 5 live: none of them in a condition that a leak has, and no origin's sockets only become more", heap,
				"1,001 events were lost; what is open was taken from the kernel's own tables, so the verdict stands for what is open, not for growth"}},
		"winding down": {Report{Duration: 30, Totals: Totals{Opened: 2, Closed: 2, Winding: 2, TimeWait: pointer(uint64(2000)), TCP: true}}, Doubts{}, NoLeak,
			[]string{"2 opened, 2 closed, 0 live: none of them in a condition that a leak has, and no origin's sockets only become more", heap,
				"the kernel still holds 2 sockets whose descriptors are all closed (FIN-WAIT, LAST-ACK): it is winding them down, the program has done its part",
				"2,000 sockets in TIME-WAIT, or FIN-WAIT-2 without a descriptor, in the same network namespace, of whatever program, belong to the kernel and go by themselves after a minute"}},
		"one winding down": {Report{Duration: 2, Totals: Totals{Opened: 1, Closed: 1, Winding: 1, TimeWait: pointer(uint64(1)), TCP: true}}, Doubts{}, Inconclusive,
			[]string{"watched for 2 s only, less than the grace time of 5 s",
				"the kernel still holds 1 socket whose descriptors are all closed (FIN-WAIT, LAST-ACK): it is winding it down, the program has done its part",
				"1 socket in TIME-WAIT, or FIN-WAIT-2 without a descriptor, in the same network namespace, of whatever program, belongs to the kernel and goes by itself after a minute"}},
		"no TIME-WAIT": {Report{Duration: 30, Totals: Totals{Opened: 1, Closed: 1, TimeWait: pointer(uint64(0)), TCP: true}}, Doubts{}, NoLeak,
			[]string{"1 opened, 1 closed, 0 live: none of them in a condition that a leak has, and no origin's sockets only become more", heap}},
		"TIME-WAIT of other programs": {Report{Duration: 30, Totals: Totals{TimeWait: pointer(uint64(74631))}}, Doubts{}, NoLeak, []string{"no socket was open, and none was opened"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := test.report
			r.MinAge = 5
			Conclude(&r, test.doubts, strings.HasPrefix(name, "ended"))
			if r.Verdict != test.verdict || !slices.Equal(r.Reasons, test.reasons) {
				t.Errorf("got %s %q\nwant %s %q", r.Verdict, r.Reasons, test.verdict, test.reasons)
			}
			// The text report puts the verdict before the first.
			for _, prefix := range []string{"no socket leak", "inconclusive", "leak"} {
				if strings.HasPrefix(r.Reasons[0], prefix) {
					t.Errorf("%q begins as its headline does", r.Reasons[0])
				}
			}
		})
	}
}
