package verdict

import (
	"reflect"
	"testing"
)

func TestUnseen(t *testing.T) {
	clean := Report{Verdict: NoLeak, Reasons: []string{"no socket was open, and none was opened", "another"}}
	for _, test := range []struct {
		names []string
		want  Report
	}{
		{nil, clean},
		{[]string{"crawlre"}, Report{Verdict: Inconclusive, Reasons: []string{"no process called crawlre was seen: see ps -e -o comm"}}},
		{[]string{"crawlre", "ngix"}, Report{Verdict: Inconclusive, Reasons: []string{"no process called crawlre or ngix was seen: see ps -e -o comm"}}},
	} {
		r := clean
		if Unseen(&r, test.names); !reflect.DeepEqual(r, test.want) {
			t.Errorf("%q: got %+v, want %+v", test.names, r, test.want)
		}
	}
}
