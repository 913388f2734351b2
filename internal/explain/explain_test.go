package explain

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sockleak/docs"
)

func TestTopics(t *testing.T) {
	got, err := Topics([]byte(`# Title

Not of any topic.

## first

*in a few
words*

**Rule.** Some *text* with ` + "`code`" + ` and a
[link](#second).

- one: entry,
  two lines
- **Bold.** entry

## second

summary
`))
	want := []Topic{
		{Name: "first", Summary: "in a few words", Blocks: []Block{
			{Lead: "Rule.", Text: "Some text with code and a link."},
			{Item: true, Text: "one: entry, two lines"},
			{Item: true, Lead: "Bold.", Text: "entry"},
		}},
		{Name: "second", Summary: "summary"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Topics = %+v, %v, want %+v", got, err, want)
	}
}

func TestTopicsRefuseWhatTheyCannotShow(t *testing.T) {
	for _, text := range []string{"```\ncode\n```", "> quote", "<b>html</b>", "- one\n\n  two", "- one\n  - two", "![image](x)", "### deeper"} {
		if got, err := Topics([]byte("## topic\n\nsummary\n\n" + text + "\n")); err == nil {
			t.Errorf("%q became %+v, want an error", text, got)
		}
	}
}

// The document itself: every section can be shown, and every link within it leads
// to one.
func TestDocument(t *testing.T) {
	topics, err := Topics(docs.Findings())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, topic := range topics {
		names = append(names, topic.Name)
		if topic.Summary == "" || len(topic.Blocks) == 0 || strings.Contains(topic.Name, " ") {
			t.Errorf("topic %q, %q with %d blocks, want a word, a summary and something to say", topic.Name, topic.Summary, len(topic.Blocks))
		}
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllSubmatch(docs.Findings(), -1) {
		if !slices.Contains(names, string(link[1])) {
			t.Errorf("a link leads to #%s, which is no section", link[1])
		}
	}
}
