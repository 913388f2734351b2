package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sockleak/internal/hunt"
	"sockleak/internal/report"
	"sockleak/internal/verdict"
)

// outputFlags say what a report looks like and where it goes.
type outputFlags struct {
	format    string
	file      string
	top       int
	allFrames bool
}

func (o *outputFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&o.format, "output", "o", "text", "`format` of the report: text, markdown (for a ticket), json, or ndjson (one report a line, at every interval)")
	complete(cmd, "output", "text", "markdown", "json", "ndjson")
	fs.StringVar(&o.file, "report", "", "write the report to this `file` instead of standard output (of run: standard error)")
	fs.IntVar(&o.top, "top", 20, "the most findings to report; 0 for all")
	fs.BoolVar(&o.allFrames, "all-frames", false, "text and markdown: show the frames of libc and start-up too")
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that the command doesn't have, or that has one.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func (o *outputFlags) check() error {
	switch o.format {
	case "text", "markdown", "json", "ndjson":
	default:
		return usage("--output %s: want text, markdown, json or ndjson", o.format)
	}
	if o.top < 0 {
		return usage("--top %d: want a positive number, or 0 for all", o.top)
	}
	return nil
}

// printer writes reports, and the progress while there is none.
type printer struct {
	flags    outputFlags
	out      io.Writer
	file     *output   // to close; nil for a stream
	progress io.Writer // nil: not a terminal
	shown    bool      // a progress line stands on the terminal
}

// printer opens the report's destination; fallback is used without --report.
func (o outputFlags) printer(fallback, progress io.Writer) (*printer, error) {
	p := &printer{flags: o, out: fallback}
	if _, ok := terminal(progress); ok {
		p.progress = progress
	}
	if o.file == "" {
		return p, nil
	}
	f, err := openOutput(o.file)
	if err != nil {
		return nil, cannot(fmt.Errorf("create the report: %w", err), "give --report a path that can be written")
	}
	p.out, p.file = f, f
	return p, nil
}

// Progress implements hunt.Observer.
func (p *printer) Progress(g hunt.Progress) {
	if p.progress == nil {
		return
	}
	fmt.Fprintf(p.progress, "\r\x1b[K%s", report.Progress(g.Opened, g.Closed, g.Live, g.Suspects, g.Elapsed.Truncate(time.Second)))
	p.shown = true
}

// Interim implements hunt.Observer.
func (p *printer) Interim(r *verdict.Report) error {
	if p.flags.format != "ndjson" {
		return nil
	}
	return outputError(report.NDJSON(p.out, r))
}

// final writes the last report.
func (p *printer) final(r *verdict.Report) error { return outputError(p.write(r)) }

// outputError marks that nobody reads the output any more.
func outputError(err error) error {
	if errors.Is(err, unix.EPIPE) {
		return errOutputClosed
	}
	return err
}

func (p *printer) write(r *verdict.Report) error {
	if p.shown {
		fmt.Fprint(p.progress, "\r\x1b[K")
	}
	switch p.flags.format {
	case "json":
		return report.JSON(p.out, r)
	case "ndjson":
		return report.NDJSON(p.out, r)
	case "markdown":
		return report.Markdown(p.out, r, p.flags.allFrames)
	}
	o := textOptions(p.out)
	o.AllFrames = p.flags.allFrames
	return report.Text(p.out, r, o)
}

func (p *printer) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}
