package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// style is a Select Graphic Rendition of ECMA-48, the part between ESC [ and m.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	yellow style = "33"
)

// page collects lines that fit a terminal. It is written in one piece, so that
// two reports on one terminal don't mix.
type page struct {
	buf   bytes.Buffer
	width int // columns; 0: no limit
	color bool
	ascii bool
}

// newPage returns an empty page. A width too small for any report is raised to
// one that isn't: lines will wrap on such a terminal, but they stay lines.
func newPage(o TextOptions) *page {
	if o.Width > 0 {
		o.Width = max(o.Width, 40)
	}
	return &page{width: o.Width, color: o.Color, ascii: o.ASCII}
}

// line writes one line, which must fit.
func (p *page) line(st style, s string) {
	p.buf.WriteString(p.paint(st, p.clean(s)))
	p.buf.WriteByte('\n')
}

// para writes text after lead and wraps it; the lines that follow the first are
// indented by the width of lead.
func (p *page) para(leadStyle style, lead string, st style, text string) {
	lead, text = p.clean(lead), p.clean(text)
	for i, l := range wrap(text, p.room(columns(lead))) {
		if i > 0 {
			leadStyle, lead = plain, strings.Repeat(" ", columns(lead))
		}
		p.buf.WriteString(p.paint(leadStyle, lead) + p.paint(st, l) + "\n")
	}
}

// prose writes lead and text as one paragraph; the lines that follow the first
// are indented a little more than lead is.
func (p *page) prose(leadStyle style, lead string, st style, text string) {
	p.flow(leadStyle, lead, st, text, 2)
}

// flow writes lead and text as one paragraph; the lines that follow the first are
// indented by hang more than lead is.
func (p *page) flow(leadStyle style, lead string, st style, text string, hang int) {
	lead, text = p.clean(lead), p.clean(text)
	body := strings.TrimLeft(lead, " ")
	first := lead[:len(lead)-len(body)]
	indent := first + strings.Repeat(" ", hang)
	lines := wrap(body+text, p.room(len(indent)))
	if rest, ok := strings.CutPrefix(lines[0], body); ok {
		lines[0] = p.paint(leadStyle, body) + p.paint(st, rest)
	} else {
		lines[0] = p.paint(leadStyle, lines[0])
	}
	p.buf.WriteString(first + lines[0] + "\n")
	for _, l := range lines[1:] {
		p.buf.WriteString(indent + p.paint(st, l) + "\n")
	}
}

// fieldIndent is what stands before the text of a field: an indent, the label and
// a space.
const fieldIndent = 3 + 10 + 1

// field writes a labelled paragraph of a finding; no text, no field.
func (p *page) field(label, text string) {
	if text != "" {
		p.para(dim, fmt.Sprintf("   %-10s ", label), plain, text)
	}
}

func (p *page) blank() { p.buf.WriteByte('\n') }

// room is how many columns are left after an indent; 0: no limit.
func (p *page) room(indent int) int {
	if p.width == 0 {
		return 0
	}
	return max(p.width-indent, 10)
}

func (p *page) paint(st style, s string) string {
	s = strings.ReplaceAll(s, nbsp, " ")
	if p.ascii {
		s = asciiMarks(s)
	}
	if !p.color || st == plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

// wrap breaks text at spaces into lines of at most max columns (0: one line). A
// word wider than a line is broken, after a comma or a slash if there is one.
func wrap(text string, max int) []string {
	if max == 0 || columns(text) <= max {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Split(text, " ") {
		if line != "" && columns(line)+1+columns(word) <= max {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for columns(word) > max {
			head := cut(word, max)
			if i := strings.LastIndexAny(head, ",/"); i > 0 {
				head = head[:i+1]
			}
			lines = append(lines, strings.TrimSuffix(head, nbsp))
			word = strings.TrimPrefix(word[len(head):], nbsp)
		}
		line = word
	}
	return append(lines, line)
}

// asciiMarks writes the marks that the report itself uses for a terminal that has
// ASCII alone: each takes as many columns as before. "*" stands for anything, as
// in a shell's pattern.
func asciiMarks(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "…", "*"), "×", "x")
}

// clean makes text from the traced machine safe for the terminal. Where that
// doesn't understand UTF-8 all but the report's own marks is quoted: the bytes of
// a character could be control codes to it (ECMA-48, 8-bit C1).
func (p *page) clean(s string) string {
	if !p.ascii {
		return clean(s)
	}
	return quote(s, func(r rune) bool {
		return r < utf8.RuneSelf && unicode.IsPrint(r) || strings.ContainsRune("…×"+nbsp, r)
	})
}

// clean makes text from the traced machine safe for a terminal: a process may
// name itself with escape sequences (prctl(2), PR_SET_NAME) and a path may hold
// any byte.
func clean(s string) string {
	return quote(s, func(r rune) bool { return unicode.IsPrint(r) || r == '\u00a0' })
}

// quote writes what isn't printable as Go would quote it.
func quote(s string, printable func(rune) bool) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !printable(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case printable(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

// columns is how many columns of a terminal s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut returns the longest start of s that fits max columns, one rune at least.
func cut(s string, max int) string {
	n := 0
	for i, r := range s {
		n += runeColumns(r)
		if n > max && i > 0 {
			return s[:i]
		}
	}
	return s
}

// cutEnd returns the longest end of s that fits max columns.
func cutEnd(s string, max int) string {
	n := 0
	for i := len(s); i > 0; {
		r, size := utf8.DecodeLastRuneInString(s[:i])
		n += runeColumns(r)
		if n > max {
			return s[i:]
		}
		i -= size
	}
	return s
}
