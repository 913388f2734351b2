package verdict

import (
	"cmp"
	"math"
	"slices"

	"sockleak/internal/event"
)

// Descriptors is what a process has of descriptors, files of every kind, and how
// many it may have.
type Descriptors struct {
	Used   uint64
	NoFile uint64 // RLIMIT_NOFILE, soft
}

// forecast watches the descriptors of one process.
type forecast struct {
	now  Descriptors
	used series
}

// Descriptors notes the descriptors of the processes that have any at the time
// now; the others are forgotten.
func (j *Judge) Descriptors(now uint64, have map[event.ProcessKey]Descriptors) {
	for p := range j.limits {
		if _, ok := have[p]; !ok {
			delete(j.limits, p)
		}
	}
	for p, d := range have {
		f := j.limits[p]
		if f == nil {
			f = &forecast{}
			j.limits[p] = f
		}
		f.now = d
		f.used.add(now, int(d.Used))
	}
}

// maxLimits bounds the list: those nearest their limit come first.
const maxLimits = 50

// Limits forecasts when processes run out of descriptors, the soonest first.
func (j *Judge) Limits(names Names) []Limit {
	limits := []Limit{}
	for p, f := range j.limits {
		l := Limit{PID: p.PID, Comm: names.Process(p).Comm, NoFile: f.now.NoFile, Used: f.now.Used}
		l.GrowthPerMin = f.used.perMinute()
		// What comes and goes with the load may be more at the end than it was.
		if l.GrowthPerMin != nil && *l.GrowthPerMin > 0 && f.used.onlyGrows() && f.now.NoFile != math.MaxUint64 {
			left := float64(f.now.NoFile) - float64(f.now.Used)
			l.ExhaustedIn = pointer(math.Round(max(0, left) / *l.GrowthPerMin * 60))
		}
		limits = append(limits, l)
	}
	soon := func(l Limit) float64 {
		if l.ExhaustedIn == nil {
			return math.Inf(1)
		}
		return *l.ExhaustedIn
	}
	slices.SortFunc(limits, func(a, b Limit) int {
		return cmp.Or(cmp.Compare(soon(a), soon(b)), cmp.Compare(b.Used, a.Used), cmp.Compare(a.PID, b.PID))
	})
	return limits[:min(len(limits), maxLimits)]
}
