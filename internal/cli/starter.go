package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// starterName is the hidden command that becomes the command that run traces.
const starterName = "start-when-told"

// starterFD is where the starter waits to be told: the first of ExtraFiles.
const starterFD = 3

// The thread that execs is to be the first, which is the process for what was attached to
// it by its id: of another one execve(2) makes a new first thread, and lets go of the old
// (fs/exec.c: de_thread).
func init() {
	if len(os.Args) > 1 && os.Args[1] == starterName {
		runtime.LockOSThread() // main runs on the thread that init does
	}
}

// newStarter is the other half of child: it waits until tracing is on, then
// execs. So the command is traced from its first instruction, and it is not
// stopped with ptrace(2).
func newStarter() *cobra.Command {
	return &cobra.Command{
		Use:                starterName,
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			told := os.NewFile(starterFD, "told")
			unix.CloseOnExec(starterFD)
			// End of file without a byte: who would have told is gone.
			if _, err := io.ReadFull(told, make([]byte, 1)); err != nil {
				return status(exitCannot)
			}
			if len(args) < 2 {
				return status(exitCannot)
			}
			err := syscall.Exec(args[0], args[1:], os.Environ())
			return &fault{exitNotExecutable, fmt.Errorf("execute %s: %w", args[0], err),
				"a script needs a first line that names its interpreter, and that interpreter"}
		},
	}
}

// child is a command that has not begun yet.
type child struct {
	path   string // of the command
	cmd    *exec.Cmd
	tell   *os.File
	begun  atomic.Bool
	before atomic.Int32 // the signal that came before it began; zero: none
}

// startChild makes a process that will become the command once begin is called.
func startChild(argv []string, s Streams) (*child, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, cannotFind(argv[0], err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find sockleak's own path: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(self, append([]string{starterName, path}, argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", argv[0], err), w.Close())
	}
	return &child{path: path, cmd: cmd, tell: w}, nil
}

// cannotFind says why there is no such command. exec.LookPath's error names the
// file too, so only its cause is kept.
func cannotFind(name string, err error) error {
	var cause error = exec.ErrNotFound
	var errno syscall.Errno
	if errors.As(err, &errno) {
		cause = errno
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EISDIR) {
		return &fault{exitNotExecutable, fmt.Errorf("execute %s: %w", name, cause),
			"run wants a program that can be executed, with its arguments: see sockleak run --help"}
	}
	return &fault{exitNotFound, fmt.Errorf("find the command %s: %w", name, cause),
		"give its path, or the name of a program in $PATH; a line for the shell needs sh -c"}
}

// passSignals passes on to the command what is sent to sockleak alone, until stop is
// called. Ctrl-C reaches the command by itself; sockleak waits for it to end. What comes
// before the command began calls cancel.
func (c *child) passSignals(cancel func()) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		for sig := range signals {
			switch {
			case sig == syscall.SIGPIPE:
			case !c.begun.Load():
				c.before.Store(int32(sig.(syscall.Signal)))
				cancel()
			case sig != syscall.SIGINT:
				// It may have ended already.
				_ = c.cmd.Process.Signal(sig)
			}
		}
	}()
	return func() { signal.Stop(signals) }
}

// begin lets the command run.
func (c *child) begin() error {
	c.begun.Store(true)
	_, err := c.tell.Write([]byte{1})
	return errors.Join(err, c.tell.Close())
}

// abandon ends a child that never began.
func (c *child) abandon() {
	_ = c.tell.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// wait returns the command's exit status, as a shell would give it.
func (c *child) wait() int {
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	if err != nil {
		return exitCannot
	}
	return exitClean
}
