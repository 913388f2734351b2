package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"sockleak/internal/verdict"
)

func TestThreads(t *testing.T) {
	var pool []verdict.Thread
	for i := range 16 {
		pool = append(pool, verdict.Thread{Comm: fmt.Sprintf("pool-%d", i+1), Count: 16 - i})
	}
	tests := []struct {
		name           string
		threads        []verdict.Thread
		text, markdown string // a line of each; empty: none about threads
	}{
		{"none", nil, "", ""},
		{"one", pool[:1], "   thread     pool-1\n", "- **Thread:** pool-1\n"},
		{"three", pool[:3], "   threads    pool-1, pool-2, pool-3\n", "- **Threads:** pool-1, pool-2, pool-3\n"},
		{"many", pool, "   threads    pool-1, pool-2, pool-3, and 13 more\n", "- **Threads:** pool-1, pool-2, pool-3, and 13 more\n"},
		{"hostile", []verdict.Thread{{Comm: "\x1b[2J*a*", Count: 1}}, `   thread     \x1b[2J*a*` + "\n", `- **Thread:** \\x1b\[2J\*a\*` + "\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := fixtures()["crawler"]
			r.Findings = r.Findings[:1]
			r.Findings[0].Threads = test.threads
			has := func(format, want string, write func(io.Writer) error) {
				t.Helper()
				var b bytes.Buffer
				if err := write(&b); err != nil {
					t.Fatal(err)
				}
				none := !strings.Contains(b.String(), "   thread") && !strings.Contains(b.String(), "**Thread")
				if none != (want == "") || !strings.Contains(b.String(), want) {
					t.Errorf("%s has not %q:\n%s", format, want, b.String())
				}
			}
			has("text", test.text, func(w io.Writer) error { return Text(w, r, TextOptions{}) })
			has("markdown", test.markdown, func(w io.Writer) error { return Markdown(w, r, false) })
		})
	}
}
