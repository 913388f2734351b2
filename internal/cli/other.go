package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"sockleak/internal/hunt"
	"sockleak/internal/preflight"
	"sockleak/internal/verdict"
)

func newReplay(s Streams) *cobra.Command {
	out := &outputFlags{}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "make the report of a recording again",
		Long:  "replay reads a file made with --record and makes its report again. It needs no root and no eBPF.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name the one recording to replay, instead of %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if sameFile(args[0], out.file) {
				return usage("--report names the recording itself, %s", out.file)
			}
			p, err := out.printer(s.Out, nil)
			if err != nil {
				return err
			}
			top := hunt.RecordedTop
			if cmd.Flags().Changed("top") {
				top = out.top
			}
			r, err := hunt.Replay(args[0], top, p)
			if err != nil {
				return errors.Join(replayFault(err), p.close())
			}
			if err := errors.Join(p.final(r), p.close()); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			if r.Verdict == verdict.Leak {
				return status(exitFindings)
			}
			return nil
		},
	}
	out.add(cmd)
	return cmd
}

// replayFault knows that permission is the file's matter here, not root's.
func replayFault(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return cannot(err, "attach, hunt and run make a recording with --record FILE")
	case errors.Is(err, os.ErrPermission):
		return cannot(err, "a recording belongs to the user who made it, often root: copy it, or change its owner")
	}
	return err
}

func newDoctor(s Streams) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "show what this machine has of what sockleak needs",
		Long: `doctor tries everything sockleak needs: what is there, what is not, what that
costs, and what to do about it. It exits with 3 when tracing is impossible.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			checks := preflight.Run()
			var err error
			switch format {
			case "text":
				err = preflight.Text(s.Out, checks)
			case "json":
				enc := json.NewEncoder(s.Out)
				enc.SetIndent("", "  ")
				err = enc.Encode(checks)
			default:
				return usage("--output %s: want text or json", format)
			}
			if err != nil {
				return fmt.Errorf("write the checks: %w", err)
			}
			if preflight.Fatal(checks) != nil {
				return status(exitCannot)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "`format`: text or json")
	return cmd
}

func newVersion(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.Out, "sockleak", Version())
			return err
		},
	}
}

// Version is that of the module, with the commit when the build knows it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && version == "(devel)" {
			version += " " + s.Value[:12]
		}
	}
	return version
}
