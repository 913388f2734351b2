package report

import (
	"fmt"
	"slices"
	"strings"

	"sockleak/internal/verdict"
)

// The levels of a sparkline, from the lowest to the highest.
const (
	blockLevels = "▁▂▃▄▅▆▇█"
	asciiLevels = "_.:-=+*#"
)

// A sparkline has a column for each sample, but no more than maxSpark. Where there
// is no room for minSpark of them it says nothing, and is left out.
const (
	minSpark = 8
	maxSpark = 32
)

// sparkline draws a count over time in at most room columns (0: no limit), each
// for the same time. Empty if there is too little to draw. The lowest level is the
// least count, not zero: it shows how the count moved, and the numbers stand
// beside it.
func sparkline(samples []verdict.Sample, room int, levels string) string {
	n := min(len(samples), maxSpark)
	if room > 0 && room < n {
		if room < minSpark {
			return ""
		}
		n = room
	}
	if n < 2 {
		return ""
	}
	counts := resample(samples, n)
	least := slices.Min(counts)
	span := slices.Max(counts) - least
	height := []rune(levels)
	var b strings.Builder
	for _, count := range counts {
		level := 0
		if span > 0 {
			level = ((count-least)*(len(height)-1) + span/2) / span
		}
		b.WriteRune(height[level])
	}
	return b.String()
}

// resample returns the count at n moments, two or more, from the first sample to
// the last, at equal distances: looks are not. Until the next sample a count is
// what it was.
func resample(samples []verdict.Sample, n int) []int {
	first, last := samples[0].At, samples[len(samples)-1].At
	const rounding = 1e-6 // times are in ms
	counts := make([]int, n)
	next := 1
	for i := range counts {
		at := first + (last-first)*float64(i)/float64(n-1)
		for next < len(samples) && samples[next].At <= at+rounding {
			next++
		}
		counts[i] = samples[next-1].Count
	}
	return counts
}

// seriesWords says in numbers what a sparkline draws.
func seriesWords(samples []verdict.Sample) string {
	if len(samples) < 2 {
		return ""
	}
	first, last := samples[0], samples[len(samples)-1]
	over := duration(last.At - first.At)
	steady := !slices.ContainsFunc(samples, func(s verdict.Sample) bool { return s.Count != first.Count })
	if steady {
		return fmt.Sprintf("%s for %s", thousands(first.Count), over)
	}
	words := fmt.Sprintf("%s to %s in %s", thousands(first.Count), thousands(last.Count), over)
	least, most := first.Count, first.Count
	for _, s := range samples {
		least, most = min(least, s.Count), max(most, s.Count)
	}
	if least < min(first.Count, last.Count) || most > max(first.Count, last.Count) {
		// The heights are relative: two more or less look like a sawtooth.
		words += fmt.Sprintf(" (between %s and %s)", thousands(least), thousands(most))
	}
	return words
}
