package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sockleak/internal/hunt"
	"sockleak/internal/privilege"
	"sockleak/internal/verdict"
)

const untilInterrupted = "how long to trace; 0 until Ctrl-C"

func newAttach(s Streams) *cobra.Command {
	f := &traceFlags{}
	cmd := &cobra.Command{
		Use:   "attach PID...",
		Short: "trace running processes and report the sockets they leak",
		Long: `attach traces running processes for a while and reports the sockets they leak,
those from before the attach included. The processes are not stopped. In those
that have libuv (Node, uvloop) uprobes stand on some of its functions meanwhile;
--requested-at=false does without. Ctrl-C ends early and still prints the report.`,
		Example: "  sudo sockleak attach 4242\n  sudo sockleak attach --for 2m --output json $(pidof crawler)",
		Args:    needArgs("name the process to trace by its id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			pids, err := findProcesses(args)
			if err != nil {
				return err
			}
			if err := checkComms(pids, f); err != nil {
				return err
			}
			cfg.Probe.Scope.PIDs = pids
			return trace(cmd.Context(), f, cfg, s)
		},
	}
	f.add(cmd, 30*time.Second, untilInterrupted)
	cmd.Flags().BoolVar(&f.children, "children", true, "also trace the processes they fork from now on")
	return cmd
}

func newHunt(s Streams) *cobra.Command {
	f := &traceFlags{}
	cmd := &cobra.Command{
		Use:   "hunt",
		Short: "trace the whole system and report who leaks sockets",
		Long: `hunt traces every process, in every container, and reports the sockets they leak,
with the lines of native code. For those of Python, Node, Java and Ruby too, give
--stacks deep: it reads every program that starts.`,
		Example: "  sudo sockleak hunt\n  sudo sockleak hunt --exclude sshd --for 10m",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageHint("sockleak attach "+args[0]+" traces one process",
					"hunt traces the whole system and takes no arguments, but got %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			return trace(cmd.Context(), f, cfg, s)
		},
	}
	f.add(cmd, 30*time.Second, untilInterrupted)
	return cmd
}

func newRun(s Streams) *cobra.Command {
	f := &traceFlags{}
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "run a command and report the sockets it leaked",
		Long: `run starts a command, traces it from its first instruction, and reports when it
has ended. Sockets that were only closed by its end count as leaked when
they were of no use any more. What a language's runtime closes by itself as the
program ends, as Python does, counts as closed. The report goes to standard error, because
standard output is the command's; --report sends it to a file.

It waits a second or two for stacks of every language before it starts the command, and
reads the program's files meanwhile; --stacks snapshot starts at once, with stacks
that are complete in native code.

It exits with the command's own status, 128 plus the signal that ended it, or
100 when it leaked. 127: no such command; 126: it can't be executed. Where tracing
fails, the command goes on without.`,
		Example: "  sudo sockleak run -- ./integration-test\n  sudo sockleak run --report leaks.json -o json -- make test",
		Args:    needArgs("name the command to run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			return runCommand(cmd.Context(), f, cfg, args, s)
		},
	}
	f.add(cmd, 0, "how long to trace; 0 until the command ends. The report comes when it has ended")
	cmd.Flags().BoolVar(&f.children, "children", true, "also trace the processes it starts")
	// What follows the command's name is the command's.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// trace does what attach and hunt have in common.
func trace(ctx context.Context, f *traceFlags, cfg hunt.Config, s Streams) error {
	if err := checkMachine(); err != nil {
		return err
	}
	p, err := f.out.printer(s.Out, s.Err)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	r, err := record(ctx, f, cfg, p)
	if err != nil {
		return errors.Join(err, p.close())
	}
	if err := errors.Join(p.final(r), p.close()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if r.Verdict == verdict.Leak {
		return status(exitFindings)
	}
	return nil
}

// record traces, and writes the recording if one is wanted.
func record(ctx context.Context, f *traceFlags, cfg hunt.Config, p *printer) (*verdict.Report, error) {
	file, err := f.openRecord()
	if err != nil {
		return nil, err
	}
	cfg.Attached = privilege.Drop
	if file == nil {
		return hunt.Trace(ctx, cfg, p)
	}
	cfg.Record = file
	r, err := hunt.Trace(ctx, cfg, p)
	if cerr := file.Close(); cerr != nil && r != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the recording is incomplete: %v", cerr))
	}
	return r, err
}

func runCommand(ctx context.Context, f *traceFlags, cfg hunt.Config, argv []string, s Streams) error {
	if err := checkMachine(); err != nil {
		return err
	}
	p, err := f.out.printer(s.Err, nil)
	if err != nil {
		return err
	}
	c, err := startChild(argv, s)
	if err != nil {
		return errors.Join(err, p.close())
	}
	ended := make(chan int, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.passSignals(cancel)()
	cfg.Probe.Scope.PIDs = []uint32{uint32(c.cmd.Process.Pid)}
	cfg.Command = strings.Join(argv, " ")
	cfg.Ahead = codeOf(c.path)
	running := false
	cfg.Ready = func() error {
		if err := c.begin(); err != nil {
			return fmt.Errorf("start %s: %w", argv[0], err)
		}
		running = true
		go func() {
			ended <- c.wait()
			cancel()
		}()
		return nil
	}
	r, err := record(ctx, f, cfg, p)
	switch {
	case err != nil && running:
		// That is no fault of the command, which goes on, untraced.
		failed := finish(s.Err, "sockleak run", errors.Join(err, p.close()))
		return status(cmp.Or(<-ended, failed))
	case err != nil:
		c.abandon()
		if sig := c.before.Load(); sig != 0 {
			return errors.Join(status(128+sig), p.close())
		}
		return errors.Join(err, p.close())
	}
	code := <-ended
	if err := errors.Join(p.final(r), p.close()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if r.Verdict == verdict.Leak {
		return status(exitLeaked)
	}
	if code != exitClean {
		return status(code)
	}
	return nil
}

// interruptible ends the context at SIGINT, SIGTERM or SIGHUP, so that the report is
// still printed; a second one kills as usual. SIGPIPE becomes a write error, so
// that a recording is ended well.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1)
		signal.Notify(signals, syscall.SIGHUP)
	}
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, func() {
		cancel()
		signal.Stop(pipes)
	}
}
