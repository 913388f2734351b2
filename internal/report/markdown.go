package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"sockleak/internal/verdict"
)

// codeWidth is the columns of a stack in a code block: what most trackers show
// without scrolling.
const codeWidth = 100

// Markdown writes the report to be pasted into a ticket, as GitHub Flavored
// Markdown (https://github.github.com/gfm/), which most trackers read. allFrames
// shows the frames that are folded away otherwise. An error of w is returned as
// it is.
func Markdown(w io.Writer, r *verdict.Report, allFrames bool) error {
	m := &markdown{allFrames: allFrames}
	lead, answer, reasons := answerOf(r)
	m.line("## " + escape(lead+answer))
	m.line("")
	for _, s := range reasons {
		m.item(s)
	}
	m.blank()
	m.table(r.Findings)
	if r.Omitted > 0 {
		m.line("Left out by --top: " + counted(r.Omitted, "more leak", "more leaks") + ".")
		m.blank()
	}
	for i := range r.Findings {
		m.finding(i+1, &r.Findings[i])
	}
	m.run(r)
	_, err := w.Write(bytes.ReplaceAll(m.buf.Bytes(), []byte(nbsp), []byte(" ")))
	return err
}

// markdown collects the lines of a document.
type markdown struct {
	buf       bytes.Buffer
	allFrames bool
}

func (m *markdown) line(s string) { m.buf.WriteString(s + "\n") }

// blank ends a paragraph, if one was begun.
func (m *markdown) blank() {
	if !bytes.HasSuffix(m.buf.Bytes(), []byte("\n\n")) {
		m.line("")
	}
}

// item is an entry of a list.
func (m *markdown) item(text string) { m.line("- " + escapeStart(escape(text))) }

// fact is an item with a label; no text, no item.
func (m *markdown) fact(label, text string) {
	if text != "" {
		m.line("- **" + label + ":** " + text)
	}
}

// table is the answer at a glance. Its last column is the line to look at: where
// the sockets were asked for, or where they were made.
func (m *markdown) table(findings []verdict.Finding) {
	if len(findings) == 0 {
		return
	}
	m.line("| # | Class | Sockets | Growth | Process | Line |")
	m.line("| ---: | --- | ---: | ---: | --- | --- |")
	for i := range findings {
		f := &findings[i]
		growth := ""
		if f.GrowthPerMin != nil {
			growth = rate(*f.GrowthPerMin)
		}
		m.line(fmt.Sprintf("| %d | %s | %s | %s | %s | %s |", i+1, escape(string(f.Class)), thousands(f.Count),
			growth, escape(processName(f.Process)), cell(lineOf(f))))
	}
	m.blank()
}

// lineOf is the origin that names the line to look at.
func lineOf(f *verdict.Finding) *verdict.Origin {
	if o := askedOrigin(f.RequestedAt); o != nil && nowhere(o) == "" {
		return o
	}
	return &f.Origin
}

// cell names the culprit in a table, where a bar ends a cell in code too.
func cell(o *verdict.Origin) string {
	if nowhere(o) != "" {
		return "unknown"
	}
	f := o.Frames[*o.Culprit]
	words := code(shortFunction(functionOf(f), codeWidth/2))
	if at := placeOf(f); at != "" {
		words += " " + code(at[strings.LastIndexByte(at, '/')+1:])
	}
	return strings.ReplaceAll(words, "|", `\|`)
}

func (m *markdown) finding(n int, f *verdict.Finding) {
	m.line(fmt.Sprintf("### %d. %s", n, escape(title(f))))
	m.blank()
	m.line(counted(f.Count, "socket", "sockets") + " in " + escape(processName(f.Process)))
	m.blank()
	m.where(f)
	m.fact(either(len(f.Threads), "Thread", "Threads"), escape(threadsWords(f.Threads)))
	for i := range f.LastUse {
		m.fact("Last use", escape(lastUseWords(&f.LastUse[i])))
	}
	m.fact("Opened", openedWords(f))
	count := countWords(f)
	if drawn := sparkline(f.Series, 0, blockLevels); drawn != "" {
		count = drawn + " " + count
	}
	m.fact("Count", count)
	m.fact("Peers", escape(leakedPeers(f)))
	m.fact("States", escape(statesWords(f.States)))
	m.fact("Queues", escape(queueWords(f.Sockets)))
	m.fact("Held by", escape(holdersWords(f.Sockets)))
	m.fact("Confidence", escape(confidenceWords(f.Confidence)))
	m.blank()
	if len(f.Evidence) > 0 {
		m.line("**Evidence**")
		m.blank()
		for _, e := range f.Evidence {
			m.item(e)
		}
		m.blank()
	}
	if f.Advice != "" {
		m.line("**Advice:** " + escape(f.Advice) + "; see " + code("sockleak explain "+string(f.Class)))
		m.blank()
	}
	if asked := askedOrigin(f.RequestedAt); asked != nil {
		m.stack("Asked on", asked, f.Process.Exe)
	}
	m.stack("Stack", &f.Origin, f.Process.Exe)
}

// where says where the sockets were asked for, made, and accepted from.
func (m *markdown) where(f *verdict.Finding) {
	likely := func(o *verdict.Origin, words string) string {
		if o.Inferred && nowhere(o) == "" {
			return "Likely " + words
		}
		return strings.ToUpper(words[:1]) + words[1:]
	}
	if asked := askedOrigin(f.RequestedAt); asked != nil {
		m.fact(likely(asked, "asked for at"), place(asked))
		m.fact("Made at", place(&f.Origin))
	} else {
		m.fact(likely(&f.Origin, "created at"), place(&f.Origin))
	}
	if f.AcceptedFrom != nil {
		m.fact("Accepted from", escape(acceptedWords(f.AcceptedFrom)))
	}
}

// place names the culprit.
func place(o *verdict.Origin) string {
	if why := nowhere(o); why != "" {
		return escape("unknown: " + why)
	}
	f := o.Frames[*o.Culprit]
	words := code(functionOf(f))
	if at := placeOf(f); at != "" {
		words += " in " + code(at)
	}
	return words
}

func (m *markdown) stack(label string, o *verdict.Origin, exe *string) {
	t := &text{page: newPage(TextOptions{Width: codeWidth}), options: TextOptions{AllFrames: m.allFrames}, hinted: true}
	words := stackWords(o)
	if words == "" {
		return
	}
	m.line("**" + label + "**, " + escape(words) + ":")
	m.blank()
	t.frames(o, exe)
	frames := strings.TrimRight(t.buf.String(), "\n")
	fence := strings.Repeat("`", max(3, longestRun(frames, '`')+1))
	m.line(fence + "text")
	for l := range strings.Lines(frames) {
		m.line(strings.TrimRight(strings.TrimPrefix(l, "   "), "\n"))
	}
	m.line(fence)
	m.blank()
}

// run says what the report rests on.
func (m *markdown) run(r *verdict.Report) {
	m.line("### The run")
	m.blank()
	for _, l := range limitsOf(r) {
		m.item(limitOwner(l) + ": " + limitWords(l))
	}
	for _, words := range lossWords(r.Loss) {
		m.fact("Lost", escape(words))
	}
	for _, o := range r.Observations {
		m.fact("Worth a look", escape(o))
	}
	for _, n := range r.Notes {
		m.fact("Note", escape(n))
	}
	m.fact("Sockets", escape(totalsWords(r.Totals)))
	m.item(about(r))
}
