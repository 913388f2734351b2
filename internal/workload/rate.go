package workload

import "math"

// MostWalks bounds the stacks that the kernel side takes of calls that are made in
// so many seconds and whose rate it is to stay within: see bpf/budget.h. Those of
// new calls come on top. Until it is known how many there will be, in the first
// second, they are chosen with a probability of one, a half, a third and so on, for
// as many calls as the rate is: a harmonic sum, which is ln(n)+0.58, not ln(n). Each
// later second adds the rate. They are chosen by chance, so that the bound has to be
// above what is expected: by five standard deviations, which one run in three
// million passes.
func MostWalks(calls, rate, seconds uint64) uint64 {
	var expected, variance float64
	for n := range calls {
		p := 1 / float64(n/rate+1)
		expected += p
		variance += p * (1 - p)
	}
	later := float64(rate * (seconds - 1))
	return uint64(math.Ceil(expected + later + 5*math.Sqrt(variance+later)))
}
