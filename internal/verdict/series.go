package verdict

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// maxSamples bounds a series. When it is full every second sample goes, and half
// as many are kept from then on: it always spans the whole time, and is as dense
// at its beginning as at its end.
const maxSamples = 128

// series is a count over time.
type series struct {
	times  []uint64 // ns, rising
	counts []int
	// added is how many there were; of each 1<<sparse one is kept, and the
	// newest for as long as it is that.
	added, sparse int
}

func (s *series) add(time uint64, count int) {
	passing := (s.added-1)&(1<<s.sparse-1) != 0
	s.added++
	if last := len(s.times) - 1; last > 0 && passing {
		s.times[last], s.counts[last] = time, count
		return
	}
	if len(s.times) == maxSamples {
		half := 0
		for i := 0; i < len(s.times); i += 2 {
			s.times[half], s.counts[half] = s.times[i], s.counts[i]
			half++
		}
		s.times, s.counts = s.times[:half], s.counts[:half]
		s.sparse++
	}
	s.times = append(s.times, time)
	s.counts = append(s.counts, count)
}

// samples are the counts with their times since began, in ns.
func (s *series) samples(began uint64) []Sample {
	all := make([]Sample, len(s.times))
	for i, t := range s.times {
		all[i] = Sample{At: *seconds(t - min(t, began)), Count: s.counts[i]}
	}
	return all
}

// plus returns the sum of two counts; nil is nothing. Between two samples a count is what it was;
// before the first it is nothing.
func (s *series) plus(o *series) *series {
	if s == nil || o == nil {
		return cmp.Or(s, o)
	}
	if len(o.times) > len(s.times) {
		s, o = o, s
	}
	sum := &series{times: slices.Clone(s.times), counts: slices.Clone(s.counts), added: s.added, sparse: s.sparse}
	for i, t := range sum.times {
		n, found := slices.BinarySearch(o.times, t)
		if found {
			n++
		}
		if n > 0 {
			sum.counts[i] += o.counts[n-1]
		}
	}
	return sum
}

// span is the time from the first sample to the last.
func (s *series) span() time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	return time.Duration(s.times[len(s.times)-1] - s.times[0])
}

// forgotten is after how many samples of nothing a group is forgotten.
const forgotten = 8

// over reports whether there has been nothing for a while.
func (s *series) over() bool {
	tail := s.counts[max(0, len(s.counts)-forgotten):]
	return len(tail) == forgotten && !slices.ContainsFunc(tail, func(n int) bool { return n != 0 })
}

// minSpan is how long a count must have been watched for its growth to mean
// anything.
const minSpan = 5 * time.Second

// perMinute is the growth: the median of the slopes between all pairs of
// samples (the Theil-Sen estimator), which a single burst or dip does not move.
// Rounded to three decimals; nil when it was watched for too short.
func (s *series) perMinute() *float64 {
	if s.span() < minSpan || len(s.times) < 3 {
		return nil
	}
	var slopes []float64
	for i := range s.times {
		for j := i + 1; j < len(s.times); j++ {
			minutes := time.Duration(s.times[j] - s.times[i]).Minutes()
			slopes = append(slopes, float64(s.counts[j]-s.counts[i])/minutes)
		}
	}
	slices.Sort(slopes)
	m := slopes[len(slopes)/2]
	if len(slopes)%2 == 0 {
		m = (m + slopes[len(slopes)/2-1]) / 2
	}
	return pointer(math.Round(m*1e3) / 1e3)
}

// onlyGrows reports whether the count rises, or has not once fallen since it is
// watched for too short to say that.
func (s *series) onlyGrows() bool {
	if len(s.counts) < judged {
		return slices.IsSorted(s.counts) && s.counts[len(s.counts)-1] > s.counts[0]
	}
	return s.rises(1)
}

// judged is how many samples it takes to compare the quarters of the time.
const judged = 8

// rises reports whether the count rose all the time: the least of each quarter
// of the time is above that of the quarter before, by growth in all. A sawtooth
// falls back, a pool stops growing.
func (s *series) rises(growth int) bool {
	if len(s.counts) < judged {
		return false
	}
	least, samples := s.quarters()
	for q := range least {
		if samples[q] == 0 || q > 0 && least[q] <= least[q-1] {
			return false
		}
	}
	return least[3]-least[0] >= growth
}

// quarters returns the least of each quarter of the time, and of how many samples.
func (s *series) quarters() (least, samples [4]int) {
	for i, count := range s.counts {
		q := 3
		if span := uint64(s.span()); s.times[i]-s.times[0] < span {
			q = int((s.times[i] - s.times[0]) * 4 / span)
		}
		if samples[q]++; samples[q] == 1 || count < least[q] {
			least[q] = count
		}
	}
	return least, samples
}
