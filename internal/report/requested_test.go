package report

import (
	"bytes"
	"strings"
	"testing"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// TestRequested: the place where sockets were asked for comes before the one
// where they were made, and is not mixed with it.
func TestRequested(t *testing.T) {
	zero := 0
	at := func(function string, line int) []stack.Frame {
		return []stack.Frame{{Function: function, File: "/srv/app.js", Line: line, Kind: stack.Node}}
	}
	address, libuv := "0.0.0.0:1965", verdict.ViaLibuv
	r := fixtures()["crawler"]
	if r == nil || len(r.Findings) == 0 {
		t.Fatal("the fixture has no finding")
	}
	f := &r.Findings[0]
	f.Origin = verdict.Origin{Quality: stack.Complete, Frames: at("tick", 99)}
	tests := []struct {
		name      string
		requested *verdict.Requested
		accepted  *verdict.Accepted
		want      []string // in this order
		without   string
	}{
		{"asked", &verdict.Requested{Via: libuv, Quality: stack.Complete, Frames: at("check", 12), Culprit: &zero}, nil,
			[]string{"   asked for at  check  /srv/app.js:12\n", "   made at  unknown: no frame", "   asked on ", "-> check", "   stack ", "tick"}, "created at  unknown: no frame"},
		{"inferred", &verdict.Requested{Via: libuv, Quality: stack.Complete, Frames: at("check", 12), Culprit: &zero, Inferred: true}, nil,
			[]string{"   likely asked for at  check", "   made at"}, "   asked for at  check"},
		{"accepted", nil, &verdict.Accepted{Address: &address, Via: &libuv, Quality: stack.Complete, Frames: at("api", 12), Culprit: &zero},
			[]string{"   created at  unknown: no frame", "   accepted from  0.0.0.0:1965, listening since api", "/srv/app.js:12"}, "asked for at"},
		{"accepted, listener from before", nil, &verdict.Accepted{Address: &address, Quality: stack.None},
			[]string{"   accepted from  0.0.0.0:1965\n"}, "listening since"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.RequestedAt, f.AcceptedFrom = test.requested, test.accepted
			var b bytes.Buffer
			if err := Text(&b, r, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			rest := b.String()
			if strings.Contains(rest, test.without) {
				t.Errorf("has %q", test.without)
			}
			for _, want := range test.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("no %q in\n%s", want, rest)
				}
				rest = after
			}
		})
	}
}
