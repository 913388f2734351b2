package hunt

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// traced is an engine that follows one process group of the running kernel as
// Trace does, but takes a snapshot only when it is told to: between two of
// them it knows nothing but the events.
type traced struct {
	t      *testing.T
	pgid   int
	probe  *probe.Probe
	before event.Loss // of the probe, when it began to follow
	engine *engine
	hz     uint64
	rows   []byte
	events []event.Event // all that were applied, if keep
	keep   bool
}

// start starts a program with nothing but its standard descriptors, whatever
// the test itself inherited: what the scripts expect depends on it.
func start(t *testing.T, path string, args ...string) *workload.Proc {
	t.Helper()
	needs.Root(t)
	// Not by close_range(2), which can't do that before 5.11.
	for _, name := range glob(t, "/proc/self/fd/*") {
		if fd := number(t, filepath.Base(name)); fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return workload.Start(t, path, args...)
}

// follow attaches to the process group that a process leads, and takes the
// first snapshot.
func follow(t *testing.T, pgid int, ring int, stacks bool) *traced {
	t.Helper()
	return engage(t, open(t, ring, stacks), pgid)
}

// open opens a probe that follows nobody yet.
func open(t *testing.T, ring int, stacks bool) *probe.Probe {
	t.Helper()
	const nobody = math.MaxInt32 // above any pid_max
	p, err := probe.Open(probe.Config{Scope: probe.Scope{PIDs: []uint32{nobody}, Children: true}, RingSize: ring, Stacks: stacks})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// engage has a probe follow the process group that a process leads, and takes the first
// snapshot. Whom it followed before must have ended.
func engage(t *testing.T, p *probe.Probe, pgid int) *traced {
	t.Helper()
	hz, err := probe.HZ()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Read(time.Now(), math.MaxInt, func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	before, err := p.Loss()
	if err != nil {
		t.Fatal(err)
	}
	scope := probe.Scope{Children: true}
	for _, pid := range group(t, pgid) {
		scope.PIDs = append(scope.PIDs, uint32(pid))
		if err := p.AddTarget(uint32(pid)); err != nil {
			t.Fatal(err)
		}
	}
	o := options{Scope: scope, Self: uint32(os.Getpid())}
	k := &traced{t: t, pgid: pgid, probe: p, hz: hz, before: before}
	k.engine = newEngine(o, hz, probe.Now(), replayedOrigins{}, verdict.Report{})
	k.snapshot()
	return k
}

// drain applies the events there are.
func (k *traced) drain() {
	k.t.Helper()
	var ev event.Event
	var raw stack.Raw
	// The deadline has passed: what is in the ring is read, and no more.
	err := k.probe.Read(time.Now(), math.MaxInt, func(record []byte) {
		k.engine.event(record)
		if !k.keep {
			return
		}
		isStack, err := probe.Decode(record, &ev, &raw)
		if err != nil {
			k.t.Fatalf("decode % x: %v", record, err)
		}
		if !isStack {
			k.events = append(k.events, ev)
			ev.OpenFDs = nil // belongs to the one that was kept
		}
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// snapshot merges the kernel's tables, after the events that were made while
// they were read, and returns what had to be repaired.
func (k *traced) snapshot() lifecycle.Repair {
	k.t.Helper()
	k.rows = k.rows[:0]
	start, end, err := k.probe.Snapshot(func(row []byte) { k.rows = append(k.rows, row...) })
	if err != nil {
		k.t.Fatal(err)
	}
	k.drain()
	k.engine.begin(start)
	for row := range probe.Rows(k.rows) {
		k.engine.rowRecord(row)
	}
	k.engine.reconciles++
	return k.engine.table.EndSnapshot(end)
}

// lossless fails the test if anything went unseen: then it proved nothing. It
// returns how many programs the kernel skipped, which newer ones do now and then,
// for whatever process: it counts as a failure only where it shouldn't happen.
func (k *traced) lossless() (skipped uint64) {
	k.t.Helper()
	loss, err := k.probe.Loss()
	if err != nil {
		k.t.Fatal(err)
	}
	loss.StateSkipped = k.before.StateSkipped // touches no descriptor
	if skips(k.t) {
		skipped, loss.ProbeSkipped = loss.ProbeSkipped-k.before.ProbeSkipped, k.before.ProbeSkipped
	}
	loss.DecodeError, loss.TableFull = k.engine.decode, k.engine.table.Totals().Full
	if loss != k.before {
		k.t.Fatalf("lost %+v, %+v of it before", loss, k.before)
	}
	return skipped
}

// skips reports whether this kernel leaves out programs so often that a test has to
// bear it: 7.2 does, 6.18 seldom and under load, see (5) of docs/kernels.md.
func skips(t *testing.T) bool { return !needs.Older(t, 6, 19) }

// together runs a test beside others, but not where one that runs meanwhile can
// have the kernel skip a program.
func together(t *testing.T) {
	if !skips(t) {
		t.Parallel()
	}
}

// socket is what is compared of one: the descriptors that refer to it in all
// descriptor tables, and who has them. A thread with a table of its own has
// other descriptors than its process.
type socket struct {
	descriptors int
	holders     []holder
}

type holder struct{ pid, fd int }

func (h holder) String() string { return fmt.Sprintf("%d/%d", h.pid, h.fd) }

// table returns the sockets as the events told them, by inode number.
func (k *traced) table() map[uint64]socket {
	all := map[uint64]socket{}
	for s, holders := range k.engine.table.Sockets() {
		found := socket{descriptors: s.Descriptors()}
		for _, h := range holders {
			found.holders = append(found.holders, holder{int(h.Process.PID), int(h.FD)})
		}
		all[s.Inode] = found
	}
	return all
}

// kernel returns the sockets as /proc has them, by inode number.
func (k *traced) kernel() map[uint64]socket {
	k.t.Helper()
	type files struct {
		tid       int // of a thread that uses the table
		processes map[int]bool
		sockets   map[int]uint64
	}
	var tables []*files
	for _, pid := range group(k.t, k.pgid) {
		for _, tid := range threads(k.t, pid) {
			open, err := workload.ThreadSockets(pid, tid)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // it ended meanwhile
			}
			if err != nil {
				k.t.Fatal(err)
			}
			if len(open) == 0 {
				continue
			}
			i := slices.IndexFunc(tables, func(f *files) bool {
				return maps.Equal(f.sockets, open) && sameFiles(k.t, f.tid, tid)
			})
			if i < 0 {
				i = len(tables)
				tables = append(tables, &files{tid, map[int]bool{}, open})
			}
			tables[i].processes[pid] = true
		}
	}
	all := map[uint64]socket{}
	for _, f := range tables {
		for fd, inode := range f.sockets {
			s := all[inode]
			s.descriptors++
			for pid := range f.processes {
				s.holders = append(s.holders, holder{pid, fd})
			}
			all[inode] = s
		}
	}
	return all
}

// sameFiles reports whether two tasks share a descriptor table.
func sameFiles(t *testing.T, a, b int) bool {
	t.Helper()
	const kcmpFiles = 2 // KCMP_FILES of include/uapi/linux/kcmp.h
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	if errno == unix.ESRCH {
		return false // one ended meanwhile
	}
	if errno != 0 {
		t.Fatalf("kcmp %d and %d: %v", a, b, errno)
	}
	return r == 0
}

// group returns the living processes of a process group.
func group(t *testing.T, pgid int) []int {
	t.Helper()
	var pids []int
	for _, path := range glob(t, "/proc/[0-9]*") {
		pid := number(t, filepath.Base(path))
		if f := stat(t, pid); f != nil && f[0] != "Z" && number(t, f[2]) == pgid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat returns the fields of /proc/PID/stat from the state on: state, parent,
// process group; nil if the process is gone.
func stat(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 3 {
		t.Fatalf("/proc/%d/stat: %q", pid, text)
	}
	return f
}

func threads(t *testing.T, pid int) []int {
	t.Helper()
	var tids []int
	for _, path := range glob(t, fmt.Sprintf("/proc/%d/task/*", pid)) {
		tids = append(tids, number(t, filepath.Base(path)))
	}
	return tids
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settle is how long the kernel may take to let go of a thread or process
// after those who waited for it were told.
const settle = 2 * time.Second

// exact fails the test unless the table is what /proc shows. What the kernel
// still does when the program has been answered, ending a thread, is waited
// for; a wrong table stays wrong.
func (k *traced) exact(when string) {
	k.t.Helper()
	var diff []string
	for deadline := time.Now().Add(settle); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		k.drain()
		if diff = difference(k.table(), k.kernel()); diff == nil {
			return
		}
	}
	k.t.Fatalf("after %s the table is not as /proc has it:\n%s", when, strings.Join(diff, "\n"))
}

// difference returns a line for each socket that isn't the same in both.
func difference(table, kernel map[uint64]socket) []string {
	var lines []string
	inodes := maps.Clone(table)
	maps.Copy(inodes, kernel)
	for _, inode := range slices.Sorted(maps.Keys(inodes)) {
		a, b := table[inode].text(), kernel[inode].text()
		if a != b {
			lines = append(lines, fmt.Sprintf("socket %d: table has %s; kernel has %s", inode, a, b))
		}
	}
	return lines
}

func (s socket) text() string {
	if s.descriptors == 0 {
		return "nothing"
	}
	slices.SortFunc(s.holders, func(a, b holder) int { return (a.pid-b.pid)<<20 + a.fd - b.fd })
	return fmt.Sprintf("%d descriptors %v", s.descriptors, s.holders)
}
