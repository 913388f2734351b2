package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sockleak/internal/hunt"
	"sockleak/internal/probe"
	"sockleak/internal/verdict"
)

// traceFlags are the flags of every command that traces.
type traceFlags struct {
	duration, interval   time.Duration
	patience             verdict.Patience
	record               string
	comms, exclude       []string
	children             bool
	ringSize, maxSockets int
	stacks               hunt.Stacks
	requestedAt          bool
	lastUse              bool
	stackRate            uint32
	out                  outputFlags
	set                  *pflag.FlagSet
}

// add adds the flags to a command that traces for the duration given unless another
// is asked for, as long says.
func (f *traceFlags) add(cmd *cobra.Command, duration time.Duration, long string) {
	fs := cmd.Flags()
	f.set = fs
	fs.DurationVar(&f.duration, "for", duration, long)
	fs.DurationVar(&f.interval, "interval", 2*time.Second, "how often to compare with the kernel's tables")
	fs.DurationVar(&f.patience.MinAge, "min-age", verdict.DefaultMinAge, "how long one socket of a finding must have been in its condition")
	fs.DurationVar(&f.patience.Idle, "idle", verdict.DefaultIdle, "how long an established connection must be silent to be suspected")
	f.stacks = hunt.StacksAuto
	fs.Var(&f.stacks, "stacks", "how stacks are taken: auto (of native code; with attach and run of Python, Node, Java and Ruby too), deep (of these with hunt too, or an error), snapshot (of native code, starts at once), fp (by frame pointers), off")
	fs.BoolVar(&f.requestedAt, "requested-at", true, "with stacks in every language, also find where a socket was asked for: by uprobes in processes with libuv, and of Go the go statement")
	fs.BoolVar(&f.lastUse, "last-use", false, "also show the last call on each leaked socket that told something: end of file, an error, shutdown, removal from epoll; costs every read and write of the machine some 0.15 µs")
	fs.Uint32Var(&f.stackRate, "stack-rate", hunt.DefaultStackRate, "the most stacks of one process in a second, a `number`; past it one socket in so many has one, and of native code every call that is new; 0 for no limit")
	fs.StringVar(&f.record, "record", "", "also write all that is seen to this `file`, for replay")
	fs.StringSliceVar(&f.comms, "comm", nil, "only processes of this `name` (up to 15 characters, as in ps -o comm); repeatable")
	fs.StringSliceVar(&f.exclude, "exclude", nil, "no processes of this `name`; repeatable")
	fs.IntVar(&f.ringSize, "ring-size", 8<<20, "`bytes` of the buffer between the kernel and sockleak")
	fs.IntVar(&f.maxSockets, "max-sockets", 131072, "the most sockets to follow at one time")
	f.out.add(cmd)
}

// config checks the flags and says what to trace.
func (f *traceFlags) config() (hunt.Config, error) {
	switch {
	case f.duration < 0:
		return hunt.Config{}, usage("--for %v: want a positive duration, or 0 for no limit", f.duration)
	case f.interval < 100*time.Millisecond:
		return hunt.Config{}, usage("--interval %v: want at least 100ms", f.interval)
	case f.patience.MinAge < 0:
		return hunt.Config{}, usage("--min-age %v: want a positive duration", f.patience.MinAge)
	case f.patience.Idle < f.patience.MinAge:
		return hunt.Config{}, usage("--idle %v: want at least --min-age, which is %v", f.patience.Idle, f.patience.MinAge)
	case f.ringSize < os.Getpagesize() || f.ringSize > 1<<30:
		return hunt.Config{}, usage("--ring-size %d: want between a page and 1 GiB", f.ringSize)
	case f.maxSockets < 1 || f.maxSockets > 16<<20:
		return hunt.Config{}, usage("--max-sockets %d: want between 1 and %d", f.maxSockets, 16<<20)
	}
	if sameFile(f.record, f.out.file) {
		return hunt.Config{}, usage("--record and --report both name %s: want two files", f.record)
	}
	err := errors.Join(f.out.check(), checkNames(f.set, "comm", f.comms), checkNames(f.set, "exclude", f.exclude))
	if err != nil {
		return hunt.Config{}, err
	}
	return hunt.Config{
		Probe: probe.Config{
			Scope:    probe.Scope{Children: f.children, Comms: f.comms, Exclude: f.exclude},
			RingSize: f.ringSize, MaxSockets: f.maxSockets, Stacks: f.stacks != hunt.StacksOff, LastUse: f.lastUse,
			StackRate: f.stackRate,
		},
		For: f.duration, Interval: f.interval,
		Judgement: hunt.Judgement{Patience: f.patience, Top: f.out.top},
		Version:   Version(),
		Stacks:    f.stacks, RequestedAt: f.requestedAt,
	}, nil
}

// checkNames checks the names of processes given with a flag. An empty value
// makes an empty list, which would mean every process.
func checkNames(set *pflag.FlagSet, flag string, names []string) error {
	if set.Changed(flag) && len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		if name == "" || len(name) > 15 {
			return usage("--%s %q: want a process name of 1 to 15 characters, as in ps -o comm", flag, name)
		}
	}
	return nil
}

// openRecord opens the recording's file; nil without --record.
func (f *traceFlags) openRecord() (*output, error) {
	if f.record == "" {
		return nil, nil
	}
	file, err := openOutput(f.record)
	if err != nil {
		return nil, cannot(fmt.Errorf("create the recording: %w", err), "give --record a path that can be written")
	}
	return file, nil
}
