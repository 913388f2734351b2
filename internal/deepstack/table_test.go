package deepstack

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var write = flag.Bool("write", false, "write the table of languages into docs/stacks.md")

// Between these lines of docs/stacks.md is what TestLanguages found.
const (
	tableBegin = "<!-- written by go test ./internal/deepstack -run TestLanguages -args -write -->\n"
	tableEnd   = "<!-- end of what was written -->\n"
)

// tableRows is the table in the making.
type tableRows struct {
	text   strings.Builder
	failed bool
}

func (r *tableRows) add(l language, ok bool) {
	quality := "complete"
	if l.partial != "" {
		quality = "partial"
	}
	fmt.Fprintf(&r.text, "| %s | %s; %s |\n", l.name, quality, l.gives)
	r.failed = r.failed || !ok
}

// write puts the table into the docs, if that is asked for; else it is compared
// with them. Programs that there was no tool for are missing in it.
func (r *tableRows) write(t *testing.T) {
	t.Helper()
	const path = "../../docs/stacks.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegin)
	old, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	const head = "| program, attached to while it runs | tier 1 |\n| --- | --- |\n"
	if !*write {
		for line := range strings.Lines(r.text.String()) {
			if !r.failed && !strings.Contains(old, line) {
				t.Errorf("%s has no line %q: run this test with -write", path, line)
			}
		}
		return
	}
	if r.failed {
		t.Fatal("not written: a program failed")
	}
	if err := os.WriteFile(path, []byte(before+tableBegin+head+r.text.String()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
