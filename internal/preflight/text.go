package preflight

import (
	"io"
	"strings"
	"unicode/utf8"
)

const (
	width = 80
	// Columns of the status and the name, both with the blanks after.
	statusColumn = 10
	nameColumn   = 21
)

// Text writes the checks for people to read: one line for what is there, and
// for what isn't also what it costs and what to do. No line is longer than 80
// columns, unless a word is.
func Text(w io.Writer, checks []Check) error {
	var b strings.Builder
	for _, c := range checks {
		word := string(c.Status)
		if c.Status == Missing && c.Required {
			word = "MISSING"
		}
		indent := strings.Repeat(" ", statusColumn+nameColumn)
		wrap(&b, pad(word, statusColumn)+pad(c.Name, nameColumn), c.Detail, indent)
		explain(&b, strings.Repeat(" ", statusColumn), c)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// explain writes consequence and remedy, if there are any.
func explain(b *strings.Builder, indent string, c Check) {
	const cost, remedy = "what it costs you: ", "what to do: "
	hang := indent + strings.Repeat(" ", len(cost))
	if c.Consequence != "" {
		wrap(b, indent+cost, c.Consequence, hang)
	}
	if c.Remedy != "" {
		wrap(b, indent+pad(remedy, len(cost)), c.Remedy, hang)
	}
}

// wrap writes text after first, and goes on in lines that begin with indent.
func wrap(b *strings.Builder, first, text, indent string) {
	line, empty := first, true
	for _, word := range strings.Fields(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// pad fills s up to the columns; one blank at least.
func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-utf8.RuneCountInString(s), 1))
}
