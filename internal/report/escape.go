package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes text from the traced machine mean nothing in a line of markdown:
// every character that can begin or end a construct is escaped. An underscore
// within a word can't.
func escape(s string) string {
	s = clean(s)
	var b strings.Builder
	for i, r := range s {
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		within := r == '_' && alphanumeric(before) && alphanumeric(after)
		if strings.ContainsRune("\\`*_[]<>#|~&$", r) && !within {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func alphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// escapeStart escapes what would make escaped text at the start of a line or of
// an item a list, a rule or the underline of a heading.
func escapeStart(s string) string {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	switch {
	case s == "":
		return s
	case strings.ContainsRune("-+=", rune(s[0])):
		return `\` + s
	case digits > 0 && digits < len(s) && strings.ContainsRune(".)", rune(s[digits])):
		return s[:digits] + `\` + s[digits:]
	}
	return s
}

// code makes a code span, in which nothing has a meaning but backticks: its own
// are more than the text has in a row.
func code(s string) string {
	s = clean(s)
	quotes := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return quotes + s + quotes
}

func longestRun(s string, of rune) int {
	longest, run := 0, 0
	for _, r := range s {
		run++
		if r != of {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}
