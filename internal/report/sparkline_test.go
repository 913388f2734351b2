package report

import (
	"slices"
	"testing"

	"sockleak/internal/verdict"
)

func TestSparkline(t *testing.T) {
	uneven := []verdict.Sample{{At: 0, Count: 1}, {At: 1, Count: 2}, {At: 2, Count: 3}, {At: 10, Count: 9}}
	var long []int
	for i := range 128 {
		long = append(long, i)
	}
	tests := []struct {
		name    string
		samples []verdict.Sample
		room    int
		want    string
	}{
		{"nothing", nil, 0, ""},
		{"one look", counts(2, 7), 0, ""},
		{"steady", counts(2, 7, 7, 7), 0, "▁▁▁"},
		{"one more", counts(2, 7, 8), 0, "▁█"},
		{"rising", counts(2, 0, 1, 2, 3, 4, 5, 6, 7), 0, "▁▂▃▄▅▆▇█"},
		{"from a thousand on", counts(2, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007), 0, "▁▂▃▄▅▆▇█"},
		{"falling", counts(2, 9, 0), 0, "█▁"},
		{"a gap between looks", uneven, 0, "▁▃▃█"},
		{"more looks than columns", counts(1, long...), 0, "▁▁▁▂▂▂▂▃▃▃▃▃▄▄▄▄▅▅▅▅▅▆▆▆▆▇▇▇▇███"},
		{"little room", counts(1, long...), 8, "▁▂▃▄▅▆▇█"},
		{"no room", counts(1, long...), 7, ""},
		{"room for few looks", counts(2, 1, 2, 3), 5, "▁▅█"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sparkline(tt.samples, tt.room, blockLevels); got != tt.want {
				t.Errorf("sparkline = %q, want %q", got, tt.want)
			}
		})
	}
	if got, want := sparkline(counts(2, 0, 1, 2, 3, 4, 5, 6, 7), 0, asciiLevels), asciiLevels; got != want {
		t.Errorf("in ASCII: %q, want %q", got, want)
	}
}

// Whatever the number of columns, the first and the last are the first and the
// last look.
func TestResampleKeepsTheEnds(t *testing.T) {
	samples := counts(0.1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9)
	for n := 2; n <= 40; n++ {
		got := resample(samples, n)
		if len(got) != n || got[0] != 5 || got[n-1] != 9 || n > 2 && slices.Max(got[1:n-1]) > 5 {
			t.Errorf("%d columns: %v", n, got)
		}
	}
}

func TestCountWords(t *testing.T) {
	tests := []struct {
		f    verdict.Finding
		want string
	}{
		{verdict.Finding{Count: 3}, ""},
		{verdict.Finding{Count: 3, Series: counts(2, 3)}, ""},
		{verdict.Finding{Count: 3, GrowthPerMin: ptr(31.2)}, "3, +31/min"},
		{verdict.Finding{Count: 3, Series: counts(2, 3, 3, 3), GrowthPerMin: ptr(0.0)}, "3 for 4" + nbsp + "s, not growing"},
		{verdict.Finding{Count: 1200, Series: counts(60, 3, 1200)}, "3 to 1,200 in 1" + nbsp + "min"},
		{verdict.Finding{Count: 3, Series: counts(2, 3, 9, 3)}, "3 to 3 in 4" + nbsp + "s (between 3 and 9)"},
		{verdict.Finding{Count: 2000, Series: counts(2, 1000, 2001, 2000)}, "1,000 to 2,000 in 4" + nbsp + "s (between 1,000 and 2,001)"},
		{verdict.Finding{Count: 3, Series: counts(2, 9, 1, 8), GrowthPerMin: ptr(0.0)}, "9 to 8 in 4" + nbsp + "s (between 1 and 9), not growing"},
		{verdict.Finding{Count: 3, Series: counts(2, 9, 8, 3)}, "9 to 3 in 4" + nbsp + "s"},
	}
	for _, tt := range tests {
		if got := countWords(&tt.f); got != tt.want {
			t.Errorf("countWords(%+v) = %q, want %q", tt.f, got, tt.want)
		}
	}
}
