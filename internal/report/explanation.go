package report

import (
	"fmt"
	"io"

	"sockleak/internal/explain"
)

// Explanation writes a topic for a reader. It uses Width, Color and ASCII of o. An
// error of w is returned as it is.
func Explanation(w io.Writer, topic explain.Topic, o TextOptions) error {
	p := newPage(o)
	p.prose(bold, topic.Name+": ", plain, topic.Summary)
	for i, b := range topic.Blocks {
		lead := b.Lead
		if lead != "" && b.Text != "" {
			lead += " "
		}
		if !b.Item {
			p.blank()
			p.flow(bold, lead, plain, b.Text, 0)
			continue
		}
		if i == 0 || !topic.Blocks[i-1].Item {
			p.blank()
		}
		p.prose(bold, "  - "+lead, plain, b.Text)
	}
	_, err := w.Write(p.buf.Bytes())
	return err
}

// Explanations lists the topics there are.
func Explanations(w io.Writer, topics []explain.Topic, o TextOptions) error {
	p := newPage(o)
	names := 0
	for _, t := range topics {
		names = max(names, columns(t.Name))
	}
	for _, t := range topics {
		p.para(bold, fmt.Sprintf("%-*s  ", names, t.Name), plain, t.Summary)
	}
	_, err := w.Write(p.buf.Bytes())
	return err
}
