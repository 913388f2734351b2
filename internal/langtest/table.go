// Package langtest has what the tests share that take stacks of programs in many
// languages: which functions a stack must have, where those of a stripped program
// are, and the tables of docs/stacks.md.
package langtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// docs is where the tables are, as seen from the directory of a test.
const docs = "../../docs/stacks.md"

// Table is the table of a test in docs/stacks.md, in the making.
type Table struct {
	begin   string
	rows    strings.Builder
	partial bool // a program could not be run here
	failed  bool // or gave something else
}

// NewTable returns a table: what programs there are, and what each of the tiers gives of
// them. It is that of the test TestLanguages in a package of internal.
func NewTable(pkg string, tiers ...string) *Table {
	t := &Table{begin: fmt.Sprintf("<!-- written by go test ./internal/%s -run TestLanguages -args -write -->\n", pkg)}
	t.row(append([]string{"program, attached to while it runs"}, tiers...))
	t.row(slices.Repeat([]string{"---"}, 1+len(tiers)))
	return t
}

// Add adds a program and what its stacks have by each tier, if the test has shown that.
func (t *Table) Add(shown bool, program string, gives ...string) {
	t.row(append([]string{program}, gives...))
	t.failed = t.failed || !shown
}

func (t *Table) row(cells []string) {
	fmt.Fprintf(&t.rows, "| %s |\n", strings.Join(cells, " | "))
}

// Skip notes that a program is missing: there is no tool for it.
func (t *Table) Skip() { t.partial = true }

// Check compares the table with the one in the docs, or writes it there. Where
// programs are missing in it, what is there is compared.
func (t *Table) Check(tb testing.TB, write bool) {
	tb.Helper()
	text, err := os.ReadFile(docs)
	if err != nil {
		tb.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), t.begin)
	old, _, ended := strings.Cut(rest, "<!-- end of what was written -->\n")
	switch {
	case !found || !ended:
		tb.Fatalf("%s has no place for the table: %q", docs, t.begin)
	case t.failed:
		tb.Log("a program failed: the table is neither compared nor written")
	case !write && !t.partial && old != t.rows.String():
		tb.Errorf("%s has another table: run this test with -args -write", docs)
	case !write:
		for line := range strings.Lines(t.rows.String()) {
			if !strings.Contains(old, line) {
				tb.Errorf("%s has no line %q", docs, line)
			}
		}
	case t.partial:
		tb.Errorf("%s was not written: programs are missing (run scripts/setup.sh)", docs)
	default:
		all := before + t.begin + t.rows.String() + strings.TrimPrefix(rest, old)
		if err := os.WriteFile(docs, []byte(all), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}
