package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sockleak/internal/hunt"
	"sockleak/internal/report"
)

// snapshotFlags are those of snapshot.
type snapshotFlags struct {
	outputFlags
	comms []string
	save  string
	diff  string
}

func newSnapshot(s Streams) *cobra.Command {
	flags := &snapshotFlags{}
	cmd := &cobra.Command{
		Use:   "snapshot [PID...]",
		Short: "show the sockets that are open now, without tracing",
		Long: `snapshot reads the kernel's tables once and shows the open sockets of all
processes, or of some, grouped: those too that ss(8) doesn't list, because they
were only created, or their connection is gone.

With --save it also keeps what is open in a file, and with --diff it shows only
the sockets that are open now and were not when such a file was saved, by
process, peer and state. A file is good until the machine is started again.`,
		Example: `  sudo sockleak snapshot --save before.json
  sudo sockleak snapshot --diff before.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(flags.check(), checkNames(cmd.Flags(), "comm", flags.comms)); err != nil {
				return err
			}
			return flags.run(s, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&flags.format, "output", "o", "text", "`format`: text or json")
	fs.StringVar(&flags.file, "report", "", "write to this `file` instead of standard output")
	fs.IntVar(&flags.top, "top", 0, "the most groups to show; 0 for all")
	fs.StringSliceVar(&flags.comms, "comm", nil, "only processes of this `name`; repeatable")
	fs.StringVar(&flags.save, "save", "", "keep what is open now in this `file`, for --diff")
	fs.StringVar(&flags.diff, "diff", "", "show only what was not open when this `file` was saved")
	return cmd
}

func (f *snapshotFlags) check() error {
	if f.format != "text" && f.format != "json" {
		return usage("--output %s: want text or json", f.format)
	}
	if sameFile(f.save, f.file) {
		return usage("--save and --report both name %s: want two files", f.save)
	}
	if sameFile(f.diff, f.file) {
		return usage("--report names the snapshot of --diff itself, %s", f.file)
	}
	return f.outputFlags.check()
}

func (f *snapshotFlags) run(s Streams, args []string) error {
	base, err := f.baseline()
	if err != nil {
		return err
	}
	var pids []uint32
	if len(args) > 0 {
		if pids, err = findProcesses(args); err != nil {
			return err
		}
	}
	if err := checkSnapshot(); err != nil {
		return err
	}
	rows, info, err := hunt.Snapshot(pids, f.comms, Version())
	if err != nil {
		return err
	}
	snap := report.NewSnapshot(rows, info)
	var show shown = snap
	if base != nil {
		if show, err = report.NewDiff(base, rows, info); err != nil {
			return baselineFault(f.diff, err)
		}
	}
	if f.save != "" {
		if err := replaceFile(f.save, snap.JSON); err != nil {
			return saveFault(err)
		}
	}
	return f.show(s, show)
}

// shown is what snapshot shows: all, or the difference.
type shown interface {
	JSON(io.Writer) error
	Text(io.Writer, report.TextOptions, int) error
}

func (f *snapshotFlags) show(s Streams, what shown) error {
	p, err := f.printer(s.Out, nil)
	if err != nil {
		return err
	}
	if f.format == "json" {
		err = what.JSON(p.out)
	} else {
		err = what.Text(p.out, textOptions(p.out), f.top)
	}
	if err := errors.Join(err, p.close()); err != nil {
		return fmt.Errorf("write the snapshot: %w", outputError(err))
	}
	return nil
}

// baseline reads the snapshot that --diff names, nil if it names none.
func (f *snapshotFlags) baseline() (*report.Snapshot, error) {
	if f.diff == "" {
		return nil, nil
	}
	file, err := os.Open(f.diff)
	if err != nil {
		return nil, baselineFault("open the earlier snapshot", err)
	}
	defer file.Close()
	base, err := report.ReadSnapshot(file)
	if err != nil {
		return nil, baselineFault(f.diff, err)
	}
	return base, nil
}

// baselineFault says what to do about a file that is no baseline.
func baselineFault(what string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, report.ErrNoSnapshot):
		hint = "make one with sockleak snapshot --save FILE"
	case errors.Is(err, os.ErrPermission):
		hint = "a snapshot belongs to the user who saved it, often root: copy it, or change its owner"
	case errors.Is(err, report.ErrOtherVersion):
		hint = "save a new one with this version"
	case errors.Is(err, report.ErrOtherBoot):
		hint = "all sockets are other ones since then: save a new one"
	case errors.Is(err, report.ErrOtherScope):
		hint = "compare the same processes, or save a snapshot of all"
	}
	return cannot(fmt.Errorf("%s: %w", what, err), hint)
}

// saveFault says what to do about a file that can't be saved.
func saveFault(err error) error {
	hint := hintFor(err)
	if !errors.Is(err, unix.ENOSPC) {
		hint = "give --save a path that can be written"
	}
	return cannot(fmt.Errorf("save the snapshot: %w", err), hint)
}
