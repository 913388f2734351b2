package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sockleak/docs"
	"sockleak/internal/explain"
	"sockleak/internal/verdict"
)

func topics(t *testing.T) []explain.Topic {
	t.Helper()
	topics, err := explain.Topics(docs.Findings())
	if err != nil {
		t.Fatal(err)
	}
	return topics
}

func explanation(t *testing.T, topic explain.Topic, o TextOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Explanation(&b, topic, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExplanationGolden(t *testing.T) {
	topic := explain.Topic{Name: "leaky", Summary: "opened by the program, and left open for as long as it runs, or the kernel", Blocks: []explain.Block{
		{Lead: "Rule.", Text: "A sentence that is longer than a line of sixty columns, and ends in the next one."},
		{Text: "Two more:"},
		{Item: true, Text: "C and C++: close(fd), on every path of the function that has opened the descriptor"},
		{Item: true, Lead: "In bold.", Text: "An entry that begins in bold, which is wrapped as well as any other entry."},
		{Lead: "Only bold."},
	}}
	for _, width := range []int{60, 80, 100} {
		golden(t, fmt.Sprintf("explanation-%d", width), explanation(t, topic, TextOptions{Width: width}))
	}
	golden(t, "explanation-color", explanation(t, topic, TextOptions{Width: 60, Color: true}))
	var b bytes.Buffer
	if err := Explanations(&b, []explain.Topic{topic, {Name: "no-leak", Summary: "fine"}}, TextOptions{Width: 60}); err != nil {
		t.Fatal(err)
	}
	golden(t, "explanation-list", b.Bytes())
}

// Whatever the document says fits, and none of its markup is left.
func TestExplanationsOfTheDocument(t *testing.T) {
	for _, topic := range topics(t) {
		for width := 40; width <= 120; width += 10 {
			text := string(explanation(t, topic, TextOptions{Width: width}))
			for _, mark := range []string{"**", "](", "`", "\x1b"} {
				if strings.Contains(text, mark) {
					t.Errorf("%s: %q is left in\n%s", topic.Name, mark, text)
				}
			}
			for _, l := range strings.Split(text, "\n") {
				if columns(l) > width || strings.TrimRight(l, " ") != l {
					t.Errorf("%s at width %d: %q is too long or ends in a space", topic.Name, width, l)
				}
			}
		}
	}
}

// A report and its explanation call a class the same.
func TestClassWordsAreThoseOfTheDocument(t *testing.T) {
	classes := 0
	for _, topic := range topics(t) {
		words := classWords(verdict.Class(topic.Name))
		if words == "" {
			continue // an answer without a finding
		}
		classes++
		if words != topic.Summary {
			t.Errorf("%s is %q in a report, and %q in the document", topic.Name, words, topic.Summary)
		}
	}
	if classes < 11 {
		t.Errorf("the document has %d classes, want 11 or more", classes)
	}
}
