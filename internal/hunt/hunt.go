// Package hunt wires the parts together: a source of events (the kernel, or a
// recording), the table, the judge, the report. It owns the clock and the ticker.
package hunt

import (
	"io"
	"time"

	"sockleak/internal/probe"
	"sockleak/internal/verdict"
)

// DefaultStackRate is how many stacks are taken of one process in a second when
// nothing else is asked for: see docs/stacks.md for what they cost.
const DefaultStackRate = 1000

// Judgement is what decides the report, whatever the source of the events.
type Judgement struct {
	Patience verdict.Patience `json:"patience"`
	Top      int              `json:"top"` // the most findings to report; 0 for all
}

// Config says what to trace and for how long.
type Config struct {
	Probe     probe.Config
	Judgement Judgement
	For       time.Duration // zero: until the context ends, or the processes in scope
	Interval  time.Duration // between two looks at the kernel's own tables
	// Command is the command line that run started; its end is no close.
	Command string
	// Ahead are the files that the command begins with, as far as that is known:
	// complete stacks need what is in them, which takes long to read.
	Ahead []string
	// Ready is called once tracing is on; nil for none.
	Ready func() error
	// Attached is called once nothing more is loaded or attached, but uprobes, if
	// that is said, to processes as they appear; nil for none.
	Attached func(uprobes bool) error
	Record   io.Writer // nil: no recording
	Version  string    // of sockleak
	// Stacks chooses beyond Probe.Stacks, which takes those by frame pointers;
	// empty means no more than that.
	Stacks Stacks
	// RequestedAt: where complete stacks are taken, also find out where sockets
	// were asked for, see package asked.
	RequestedAt bool
}

// Progress is how far a trace has got.
type Progress struct {
	Elapsed              time.Duration
	Opened, Closed, Live uint64
	Suspects             int
}

// Observer is told of a trace while it runs.
type Observer interface {
	Progress(Progress)
	// Interim gets a report after every look; an error ends the trace.
	Interim(*verdict.Report) error
}
