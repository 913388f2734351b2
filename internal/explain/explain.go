// Package explain takes docs/findings.md apart into what sockleak explain shows:
// a topic for each class of finding, and for each answer without one.
package explain

import (
	"fmt"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// Topic is a section of the document.
type Topic struct {
	Name    string // its heading: a class, "no-leak", ...
	Summary string // its first paragraph: the same in a few words
	Blocks  []Block
}

// Block is a paragraph, or an entry of a list.
type Block struct {
	Item bool
	Lead string // what it begins with in bold: "Rule."; may be empty
	Text string
}

// Topics returns the sections of a document in markdown, in their order. What
// comes before the first is left out. It knows headings, paragraphs, flat lists and
// what stands in a line; anything else in the document is an error.
func Topics(source []byte) ([]Topic, error) {
	doc := goldmark.DefaultParser().Parse(text.NewReader(source))
	var topics []Topic
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok && h.Level <= 2 {
			name, err := inline(n, source)
			if err != nil {
				return nil, err
			}
			if h.Level == 2 {
				topics = append(topics, Topic{Name: name})
			}
			continue
		}
		if len(topics) == 0 {
			continue
		}
		t := &topics[len(topics)-1]
		blocks, err := blocksOf(n, source)
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", t.Name, err)
		}
		if t.Summary == "" {
			t.Summary = blocks[0].Text
			continue
		}
		t.Blocks = append(t.Blocks, blocks...)
	}
	return topics, nil
}

func blocksOf(n ast.Node, source []byte) ([]Block, error) {
	switch n.Kind() {
	case ast.KindParagraph, ast.KindTextBlock:
		b, err := block(n, source)
		return []Block{b}, err
	case ast.KindList:
		var blocks []Block
		for item := n.FirstChild(); item != nil; item = item.NextSibling() {
			if item.ChildCount() != 1 {
				return nil, fmt.Errorf("an entry of a list with %d paragraphs", item.ChildCount())
			}
			b, err := block(item.FirstChild(), source)
			if err != nil {
				return nil, err
			}
			b.Item = true
			blocks = append(blocks, b)
		}
		return blocks, nil
	}
	return nil, unknown(n)
}

// block splits off what stands in bold at the beginning.
func block(n ast.Node, source []byte) (Block, error) {
	if n.Kind() != ast.KindParagraph && n.Kind() != ast.KindTextBlock {
		return Block{}, unknown(n)
	}
	whole, err := inline(n, source)
	if err != nil {
		return Block{}, err
	}
	b := Block{Text: whole}
	if e, ok := n.FirstChild().(*ast.Emphasis); ok && e.Level == 2 {
		if b.Lead, err = inline(e, source); err != nil {
			return Block{}, err
		}
		b.Text = strings.TrimSpace(strings.TrimPrefix(whole, b.Lead))
	}
	return b, nil
}

// inline returns the text of a node's children without their markup.
func inline(parent ast.Node, source []byte) (string, error) {
	var b strings.Builder
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Segment.Value(source))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.CodeSpan, *ast.Emphasis, *ast.Link:
			inner, err := inline(n, source)
			if err != nil {
				return "", err
			}
			b.WriteString(inner)
		default:
			return "", unknown(n)
		}
	}
	return b.String(), nil
}

func unknown(n ast.Node) error { return fmt.Errorf("%s is not known here", n.Kind()) }
