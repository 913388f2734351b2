// Package mapfollow remembers where processes have mapped which code, from the
// records that the kernel makes of every executable mmap(2) (PERF_RECORD_MMAP2,
// perf_event_open(2)), and which program they run. So a stack can be named although
// its process was gone before /proc/PID/maps could be read.
package mapfollow

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sockleak/internal/event"
	"sockleak/internal/symbol"
)

const (
	// maxProcesses bounds what is remembered; the longest silent go first.
	maxProcesses = 4096
	// maxMappings bounds the executable mappings of one process.
	maxMappings = 4096
	// startSlack is how far a process's start and its fork record may lie
	// apart, in ns: the one is noted early in fork, the other late.
	startSlack = 50e6
)

// Follower remembers the mappings of processes that were made since it was
// opened. It belongs to one goroutine.
type Follower struct {
	rings   []*ring
	pending []record                           // newer than the last Drain could put in order
	lost    int                                // times that records were lost
	opened  uint64                             // ns of CLOCK_BOOTTIME
	lives   map[uint32][]*life                 // by process id, the newest last
	order   *list.List                         // of *life, the last heard of first
	watch   func(pid uint32, m symbol.Mapping) // nil: nobody
}

// life is a process from one exec, or fork, to the next.
type life struct {
	pid   uint32
	start uint64 // of the process, ns of CLOCK_BOOTTIME; zero if not known
	maps  []symbol.Mapping
	// shared: another process that was forked from it, or that it was forked from, has
	// the same maps. A program that forks thousands has one copy.
	shared bool
	// program is the path of its program, empty if it isn't known. After exec it is the
	// file that is mapped first (load_elf_binary in fs/binfmt_elf.c: before it comes the
	// stack alone, which may be executable, and after it the loader), until when execs
	// is set.
	program string
	execs   bool
	place   *list.Element
}

// Open starts to follow every process of the machine. It needs CAP_PERFMON or
// CAP_SYS_ADMIN.
func Open() (*Follower, error) {
	f := &Follower{lives: map[uint32][]*life{}, order: list.New()}
	cpus, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	f.opened = now()
	for _, cpu := range cpus {
		r, err := openRing(cpu)
		if errors.Is(err, unix.ENODEV) {
			continue // went offline
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("follow mappings on CPU %d: %w", cpu, err), f.Close())
		}
		f.rings = append(f.rings, r)
	}
	return f, nil
}

// Close stops following.
func (f *Follower) Close() error {
	var errs []error
	for _, r := range f.rings {
		errs = append(errs, r.close())
	}
	f.rings = nil
	return errors.Join(errs...)
}

// Watch has f called with every executable mapping that is made from now on, by
// Drain.
func (f *Follower) Watch(watch func(pid uint32, m symbol.Mapping)) { f.watch = watch }

// Drain takes over what the kernel has recorded. A process moves between CPUs,
// so the records of all are put in order; those that were made while the first
// buffers were being read wait for what may be missing before them.
func (f *Follower) Drain() {
	until := now()
	for _, r := range f.rings {
		r.read(func(b []byte) {
			if rec, ok := parse(b); ok {
				f.pending = append(f.pending, rec)
			}
		})
	}
	slices.SortStableFunc(f.pending, func(a, b record) int { return cmp.Compare(a.time, b.time) })
	n := 0
	for n < len(f.pending) && f.pending[n].time <= until {
		f.apply(&f.pending[n])
		n++
	}
	f.pending = slices.Delete(f.pending, 0, n)
}

// now is the clock of the records, ns of CLOCK_BOOTTIME.
func now() uint64 {
	var t unix.Timespec
	// clock_gettime(2) fails only for a clock the kernel doesn't have.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

func (f *Follower) apply(r *record) {
	switch r.kind {
	case recordLost:
		// Any of them may have gone on to other code. What is known from here
		// on is right again.
		f.lost++
		f.lives, f.order = map[uint32][]*life{}, list.New()
	case recordFork:
		if r.pid == r.parent {
			return // a thread
		}
		l := f.begin(r.pid, r.time)
		if p := f.newest(r.parent); p != nil {
			l.maps, l.program, l.shared, p.shared = p.maps, p.program, true, true
		}
	case recordComm:
		start := uint64(0)
		if l := f.newest(r.pid); l != nil {
			start = l.start
		}
		f.begin(r.pid, start).execs = true
	case recordMmap2:
		if f.watch != nil {
			f.watch(r.pid, r.mapping)
		}
		l := f.newest(r.pid)
		if l == nil {
			return // from before: /proc/PID/maps has it, while it lives
		}
		f.order.MoveToFront(l.place)
		if l.execs && r.mapping.Inode != 0 {
			l.program, l.execs = strings.TrimSuffix(r.mapping.Path, " (deleted)"), false
		}
		l.add(r.mapping)
	}
}

// add notes a mapping, in place of what was there.
func (l *life) add(m symbol.Mapping) {
	if l.shared {
		l.maps, l.shared = slices.Clone(l.maps), false
	}
	l.maps = slices.DeleteFunc(l.maps, func(o symbol.Mapping) bool { return o.Start < m.End && m.Start < o.End })
	if len(l.maps) == maxMappings {
		return
	}
	i, _ := slices.BinarySearchFunc(l.maps, m.Start, func(o symbol.Mapping, start uint64) int {
		if o.Start < start {
			return -1
		}
		return 1
	})
	l.maps = slices.Insert(l.maps, i, m)
}

func (f *Follower) newest(pid uint32) *life {
	if all := f.lives[pid]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

func (f *Follower) begin(pid uint32, start uint64) *life {
	l := &life{pid: pid, start: start}
	l.place = f.order.PushFront(l)
	f.lives[pid] = append(f.lives[pid], l)
	if f.order.Len() > maxProcesses {
		f.forget(f.order.Back().Value.(*life))
	}
	return l
}

func (f *Follower) forget(l *life) {
	f.order.Remove(l.place)
	rest := slices.DeleteFunc(f.lives[l.pid], func(o *life) bool { return o == l })
	if len(rest) == 0 {
		delete(f.lives, l.pid)
		return
	}
	f.lives[l.pid] = rest
}

// Lost is how often the kernel had no room for records; what was known of
// processes until then was forgotten.
func (f *Follower) Lost() int { return f.lost }

// Maps returns the executable mappings of a process as it had them last, sorted;
// nil if it was not seen to start or exec. They must not be changed.
func (f *Follower) Maps(p event.ProcessKey) []symbol.Mapping {
	if l := f.last(p); l != nil {
		return l.maps
	}
	return nil
}

// Program returns the path of the program that a process ran last, as that process saw
// it; empty if neither it nor who forked it was seen to exec.
func (f *Follower) Program(p event.ProcessKey) string {
	if l := f.last(p); l != nil {
		return l.program
	}
	return ""
}

// last returns a process as it was last, nil if it is not known.
func (f *Follower) last(p event.ProcessKey) *life {
	f.Drain()
	for _, l := range slices.Backward(f.lives[p.PID]) {
		// One that was there before was only seen to exec.
		before := l.start == 0 && p.Start <= f.opened
		if before || l.start+startSlack >= p.Start && l.start <= p.Start+startSlack {
			return l
		}
	}
	return nil
}
