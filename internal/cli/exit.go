package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sockleak/internal/preflight"
	"sockleak/internal/procfs"
	"sockleak/internal/recording"
)

// The exit statuses, as --help and docs/report.md list them.
const (
	exitClean    = 0 // nothing found
	exitFindings = 1
	exitUsage    = 2
	exitCannot   = 3 // cannot trace, or cannot show what was found
	// exitLeaked is that of run when the command leaked: 1 is too common
	// among commands' own.
	exitLeaked = 100
	// As env(1) and the shells have them.
	exitNotExecutable = 126
	exitNotFound      = 127
)

// fault is an error that knows its exit status and what to do about it.
type fault struct {
	status int
	err    error
	hint   string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &fault{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// usageHint is usage with something better to say than where the help is.
func usageHint(hint, format string, args ...any) error {
	return &fault{status: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

func cannot(err error, hint string) error {
	return &fault{status: exitCannot, err: err, hint: hint}
}

// status is an exit status without a message: the report was the message, or
// the command that was run had its own.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// errOutputClosed: who reads the report or the progress has gone away.
var errOutputClosed = errors.New("nobody reads the output")

// finish writes what a person has to know about err, which command returned, and
// returns the exit status.
func finish(stderr io.Writer, command string, err error) int {
	var s status
	var f *fault
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, &s):
		return int(s)
	case errors.Is(err, errOutputClosed):
		// Who read the output has seen enough.
		return exitCannot
	case !errors.As(err, &f):
		f = &fault{status: exitCannot, err: err, hint: hintFor(err)}
	}
	fmt.Fprintf(stderr, "sockleak: error: %s\n", strings.TrimRight(f.err.Error(), "\n"))
	hint := f.hint
	if hint == "" && f.status == exitUsage {
		hint = "see " + command + " --help"
	}
	if hint != "" {
		fmt.Fprintf(stderr, "sockleak: hint: %s\n", hint)
	}
	return f.status
}

// hintFor says what to do about errors that can come from anywhere.
func hintFor(err error) string {
	var unmet *preflight.Error
	switch {
	case errors.As(err, &unmet):
		return "sockleak doctor shows every requirement"
	case errors.Is(err, procfs.ErrNoProcess):
		return "ps -e lists the processes there are"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "sockleak itself ran out of descriptors: raise the limit with ulimit -n 65536 before starting it"
	case errors.Is(err, unix.ENOSPC):
		return "make room on the disk, or write to another one"
	case errors.Is(err, recording.ErrFormat):
		return "replay reads files made by sockleak --record"
	case errors.Is(err, os.ErrPermission):
		return "sockleak needs root: run it with sudo; sockleak doctor tells what else is missing"
	}
	return ""
}
