// Package cli is the command line of sockleak: the commands, their flags, and
// everything a person reads beside the report itself.
package cli

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

const description = `sockleak finds the line of code that leaks sockets in a program that is running.

It watches, with eBPF, sockets being created, connected and closed, compares
with the kernel's own tables, and reports those that nothing will close, with
the user stack of the code that created them. The program is not stopped or
restarted.

Exit status:
    0  no findings: no leak, or inconclusive, as the report says
    1  findings
    2  usage
    3  cannot trace (the reason and what to do are printed)
  run exits with the command's own status, or 100 when the command leaked`

// Main runs the command line args (without the program's name) and returns the
// exit status.
func Main(ctx context.Context, args []string, s Streams) int {
	root := NewRoot(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return finish(s.Err, cmd.CommandPath(), err)
}

// NewRoot builds the tree of commands.
func NewRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "sockleak",
		Short:         "find the line of code that leaks sockets",
		Long:          description,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.AddCommand(
		newAttach(s), newHunt(s), newRun(s), newSnapshot(s), newReplay(s), newExplain(s), newDoctor(s), newVersion(s), newStarter(),
	)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		wrapArgs(cmd)
		if cmd.Name() == "completion" {
			// It would print its help, which a shell would then run.
			cmd.RunE = func(*cobra.Command, []string) error { return usage("name one of the shells") }
		}
	}
	return root
}

// unknownCommand says what may have been meant by a first argument that is no
// command: one that is spelt alike, or the process with that id.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if _, err := strconv.ParseUint(args[0], 10, 32); err == nil {
		hint = "sockleak attach " + args[0] + " traces that process"
	} else if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		hint = "did you mean " + strings.Join(like, " or ") + "?"
	}
	return usageHint(hint, "there is no command %q", args[0])
}

// needArgs wants at least one argument; what says which.
func needArgs(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New(what)
		}
		return nil
	}
}

// wrapArgs makes what cobra says of wrong arguments a usage error.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		var f *fault
		if err == nil || errors.As(err, &f) {
			return err
		}
		return usageHint("usage: "+cmd.UseLine(), "%w", err)
	}
}
