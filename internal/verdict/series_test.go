package verdict

import (
	"math"
	"slices"
	"testing"
	"time"

	"sockleak/internal/event"
)

// counted is a series of counts, one a second.
func counted(counts ...int) *series {
	s := &series{}
	for i, n := range counts {
		s.add(uint64(i)*uint64(second), n)
	}
	return s
}

func generate(n int, f func(i int) int) []int {
	counts := make([]int, n)
	for i := range counts {
		counts[i] = f(i)
	}
	return counts
}

func TestPerMinute(t *testing.T) {
	unknown := math.NaN()
	for name, test := range map[string]struct {
		counts []int
		want   float64
	}{
		"none":                {nil, unknown},
		"one":                 {[]int{1}, unknown},
		"watched for 4 s":     {[]int{1, 2, 3, 4, 5}, unknown},
		"level":               {generate(20, func(int) int { return 5 }), 0},
		"rising":              {generate(20, func(i int) int { return i / 2 }), 30},
		"falling":             {generate(20, func(i int) int { return -i }), -60},
		"one burst":           {generate(20, func(i int) int { return []int{3, 1000}[i/10*(i%10+9)/18&1] }), 0},
		"a step in the midst": {generate(20, func(i int) int { return i / 17 * 100 }), 0},
		"a dip":               {generate(20, func(i int) int { return []int{i, 0}[i%20/19] }), 60},
		"a sawtooth":          {generate(120, func(i int) int { return i % 10 }), 0},
		"long":                {generate(3600, func(i int) int { return i }), 60},
	} {
		t.Run(name, func(t *testing.T) {
			got := unknown
			if p := counted(test.counts...).perMinute(); p != nil {
				got = *p
			}
			if math.IsNaN(got) != math.IsNaN(test.want) || math.Abs(got-test.want) > 2 {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestRises(t *testing.T) {
	for name, test := range map[string]struct {
		counts []int
		want   bool
	}{
		"seven samples":             {generate(7, func(i int) int { return i }), false},
		"eight":                     {generate(8, func(i int) int { return i }), true},
		"level":                     {generate(40, func(int) int { return 9 }), false},
		"a burst, then steady":      {generate(40, func(i int) int { return min(i*10, 50) }), false},
		"by too few":                {generate(40, func(i int) int { return i / 20 }), false},
		"by one each quarter":       {generate(40, func(i int) int { return i / 10 }), true},
		"a sawtooth":                {generate(200, func(i int) int { return i % 20 }), false},
		"a sawtooth that is lifted": {generate(200, func(i int) int { return i%20 + i/10 }), true},
		"one dip in the last":       {generate(40, func(i int) int { return []int{i, 0}[i/38] }), false},
		"in the last quarter":       {generate(4000, func(i int) int { return max(0, i-3000) }), false},
		"late, and past the time a series is dense": {generate(4000, func(i int) int { return max(0, i-3800) }), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := counted(test.counts...).rises(3); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestRisesCountsTimeNotLooks(t *testing.T) {
	// Steady for a minute, looked at every ten seconds; then looked at ten
	// times a second, as after losses, while three come.
	s := &series{}
	for i := range 7 {
		s.add(uint64(i)*uint64(10*second), 5)
	}
	for i := range 40 {
		s.add(uint64(60*second)+uint64(i)*uint64(second/10), 5+i/10)
	}
	if s.rises(3) {
		t.Error("three in four seconds of 64 were called steady growth")
	}
}

func TestSeriesThinsOut(t *testing.T) {
	for _, n := range []int{1, 2, 127, 128, 129, 130, 191, 192, 193, 255, 256, 257, 1000, 100_000} {
		s := counted(generate(n, func(i int) int { return i })...)
		last := n - 1
		if s.times[0] != 0 || s.span() != time.Duration(last)*second || s.counts[len(s.counts)-1] != last {
			t.Fatalf("%d: from %d for %v to %d", n, s.times[0], s.span(), s.counts[len(s.counts)-1])
		}
		if len(s.times) > maxSamples || len(s.times) < min(n, maxSamples/2) {
			t.Errorf("%d: %d samples", n, len(s.times))
		}
		gap := uint64(0)
		if len(s.times) > 1 {
			gap = s.times[1] - s.times[0]
		}
		for i := 1; i < len(s.times); i++ {
			d := s.times[i] - s.times[i-1]
			if d != gap && (i < len(s.times)-1 || d > gap || d == 0) {
				t.Fatalf("%d: sample %d comes %v after the one before, not %v", n, i, time.Duration(d), time.Duration(gap))
			}
			if uint64(s.counts[i])*uint64(second) != s.times[i] {
				t.Fatalf("%d: sample %d has another's count", n, i)
			}
		}
	}
}

func TestSeriesIsOver(t *testing.T) {
	for _, test := range []struct {
		counts []int
		want   bool
	}{
		{generate(7, func(int) int { return 0 }), false},
		{append([]int{1}, generate(7, func(int) int { return 0 })...), false},
		{append([]int{1}, generate(8, func(int) int { return 0 })...), true},
		{append(generate(8, func(int) int { return 0 }), 1), false},
	} {
		if got := counted(test.counts...).over(); got != test.want {
			t.Errorf("%v: %v", test.counts, got)
		}
	}
}

// TestJudgeForgets: what is over takes no memory.
func TestJudgeForgets(t *testing.T) {
	w := newWorld(t)
	for stack := range uint64(50) {
		s := w.socket(7 + stack)
		w.look()
		w.close(s)
	}
	w.watch(2 * forgotten * second)
	if n := len(w.judge.groups) + len(w.judge.suspects) + len(w.judge.members) + len(w.judge.others); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	w.exit(app)
	if n := len(w.judge.opened); n != 0 {
		t.Errorf("the counts of %d ended processes are left", n)
	}
}

func TestLimits(t *testing.T) {
	j := NewJudge(Patience{DefaultMinAge, DefaultIdle}, 0)
	const unlimited = math.MaxUint64
	load := [11]uint64{100, 106, 100, 106, 102, 108, 101, 109, 102, 109, 103}
	for i := range uint64(11) {
		have := map[event.ProcessKey]Descriptors{
			process(9): {Used: load[i], NoFile: 1024},  // comes and goes
			process(1): {Used: 100 + i, NoFile: 1024},  // +60/min, 914 left
			process(2): {Used: 1000 + i, NoFile: 1024}, // +60/min, 14 left
			process(3): {Used: 2000 + i, NoFile: 1024}, // the limit was lowered
			process(4): {Used: 10 + i, NoFile: unlimited},
			process(5): {Used: 50, NoFile: 1024},
			process(6): {Used: 50, NoFile: 1024},
		}
		if i < 10 {
			have[process(7)] = Descriptors{Used: 1, NoFile: 2} // ends
		} else {
			have[process(8)] = Descriptors{Used: 1, NoFile: 2} // is new
		}
		j.Descriptors(i*uint64(second), have)
	}
	sixty, zero := pointer(60.0), pointer(0.0)
	want := []Limit{
		{PID: 3, Comm: "child3", NoFile: 1024, Used: 2010, GrowthPerMin: sixty, ExhaustedIn: zero},
		{PID: 2, Comm: "child2", NoFile: 1024, Used: 1010, GrowthPerMin: sixty, ExhaustedIn: pointer(14.0)},
		{PID: 1, Comm: "app", NoFile: 1024, Used: 110, GrowthPerMin: sixty, ExhaustedIn: pointer(914.0)},
		{PID: 9, Comm: "child9", NoFile: 1024, Used: 103, GrowthPerMin: pointer(22.5)},
		{PID: 5, Comm: "child5", NoFile: 1024, Used: 50, GrowthPerMin: zero},
		{PID: 6, Comm: "child6", NoFile: 1024, Used: 50, GrowthPerMin: zero},
		{PID: 4, Comm: "child4", NoFile: unlimited, Used: 20, GrowthPerMin: sixty},
		{PID: 8, Comm: "child8", NoFile: 2, Used: 1},
	}
	if got := j.Limits(fakeNames{}); !slices.EqualFunc(got, want, sameLimit) {
		t.Errorf("got  %s\nwant %s", limitsText(got), limitsText(want))
	}
	have := map[event.ProcessKey]Descriptors{}
	for i := range uint32(maxLimits + 10) {
		have[process(i+1)] = Descriptors{Used: uint64(i), NoFile: 1024}
	}
	j.Descriptors(uint64(20*second), have)
	if got := j.Limits(fakeNames{}); len(got) != maxLimits {
		t.Errorf("%d processes listed, want %d", len(got), maxLimits)
	}
}
