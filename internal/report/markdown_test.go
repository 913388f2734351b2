package report

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"sockleak/internal/verdict"
)

func markdownOf(t *testing.T, r *verdict.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Markdown(&b, r, false); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func htmlOf(t *testing.T, source []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough)).Convert(source, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdownGolden(t *testing.T) {
	for name, r := range fixtures() {
		t.Run(name, func(t *testing.T) {
			golden(t, name+"-markdown", markdownOf(t, r))
		})
	}
}

// hostile are values that would be markup.
var hostile = []string{
	"*bold* _under_ ~~gone~~ `code`", "<script>alert(1)</script>", "[link](http://example.org)", "![image](x)", "a | b", `back\slash`, "&lt;",
	"# heading", "> quote", "- item", "+31/min", "1. item", "12) item", "=====", "| a | b |", "```", "`", "``x`", "std::map<int, T*>::at(int&)", "__init__", "SOCK_CLOEXEC and a_b_ and _c_", "é_é_é_", "---", "***",
	"a\n\n# heading", "\x1b[31mred", "\t",
}

// Whatever a value holds, what a reader sees is that value.
func TestMarkdownEscapes(t *testing.T) {
	for _, s := range hostile {
		want := clean(s)
		if got, want := htmlOf(t, []byte(escapeStart(escape(s)))), "<p>"+html.EscapeString(want)+"</p>\n"; html.UnescapeString(got) != html.UnescapeString(want) {
			t.Errorf("escape(%q) = %q shows %q, want %q", s, escape(s), got, want)
		}
		if got, want := htmlOf(t, []byte("x "+code(s))), "<p>x <code>"+html.EscapeString(want)+"</code></p>\n"; html.UnescapeString(got) != html.UnescapeString(want) {
			t.Errorf("code(%q) = %q shows %q, want %q", s, code(s), got, want)
		}
	}
}

// No value adds to the structure of the document: a report full of hostile values
// has the same elements as one full of harmless ones.
func TestMarkdownKeepsItsShape(t *testing.T) {
	shape := func(value string) string {
		r := gateway()
		f := &r.Findings[0]
		f.Process.Comm, f.Evidence, f.Advice = value, []string{value, value}, value
		f.Origin.Frames[1].Function, f.Origin.Frames[1].File = value, value
		f.Origin.Frames[0].Function = value
		f.Peers = []verdict.Peer{{Address: value, Name: value, Count: 1}}
		r.Notes, r.Observations, r.Scope = []string{value}, []string{value}, value
		r.Limits = []verdict.Limit{{PID: 1, Comm: value, NoFile: 9, Used: 9}}
		var tags strings.Builder
		for _, part := range strings.Split(htmlOf(t, markdownOf(t, r)), "<")[1:] {
			tag, _, _ := strings.Cut(part, ">")
			fmt.Fprintln(&tags, tag)
		}
		return tags.String()
	}
	want := shape("harmless")
	for _, s := range hostile {
		if got := shape(s); got != want {
			t.Errorf("with %q the document's elements are\n%s\nwant\n%s", s, got, want)
		}
	}
}
