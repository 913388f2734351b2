package casebook

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// page is what the tests write with -write. Each writes its own table, between
// two marks, and leaves the others as they are.
const page = "../docs/casebook.md"

// writeTable puts the results into the page, if that was asked for. A run that
// left cases out would lose what the others found.
func writeTable(t *testing.T, name string, results []result) {
	t.Helper()
	if !flags.write || flags.match != "" {
		return
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatalf("read the page: %v", err)
	}
	text, err = replaceTable(text, name, table(results))
	if err != nil {
		t.Fatalf("put the table into %s: %v", page, err)
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		t.Fatalf("write the page: %v", err)
	}
}

// replaceTable returns the page with another table between the marks of a name.
func replaceTable(page []byte, name string, table string) ([]byte, error) {
	begin, end := fmt.Appendf(nil, "<!-- %s -->\n", name), fmt.Appendf(nil, "<!-- end of %s -->\n", name)
	before, rest, ok := bytes.Cut(page, begin)
	_, after, ok2 := bytes.Cut(rest, end)
	if !ok || !ok2 {
		return nil, fmt.Errorf("no marks %q", name)
	}
	return bytes.Join([][]byte{before, begin, []byte(table), end, after}, nil), nil
}

// table has a line for each result.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| Program | Language | What it does | Wanted | Found | First found after |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- |\n")
	for i := range results {
		r := &results[i]
		c := r.program.Case
		first := ""
		if len(c.Want) > 0 {
			first = after(r.found)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", c.Name, c.Language, c.Does, wanted(c), r.finding(), first)
	}
	return b.String()
}

func wanted(c *Case) string {
	if len(c.Want) == 0 {
		return "nothing"
	}
	var words []string
	for i := range c.Want {
		words = append(words, string(c.Want[i].Class))
	}
	return strings.Join(words, ", ")
}

// finding is what the last report had.
func (r *result) finding() string {
	if len(r.last) == 0 {
		return "nothing"
	}
	var words []string
	for i := range r.last {
		words = append(words, strings.ReplaceAll(short(&r.last[i]), "|", `\|`))
	}
	return strings.Join(words, "<br>")
}
