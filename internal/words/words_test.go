package words

import (
	"testing"
	"time"
)

func TestSeconds(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0 s", 0.04: "0 s", 0.4: "0.4 s", 9.94: "9.9 s", 9.96: "10 s", 12.3: "12 s", 59.6: "1 min", 60: "1 min",
		200: "3 min 20 s", 3599: "59 min 59 s", 3599.7: "1 h", 3625: "1 h", 3635: "1 h 1 min", 6300: "1 h 45 min",
		86399: "1 d", 90000: "1 d 1 h", 86400 * 1200: "1,200 d", 1e12: "11,574,074 d 2 h",
	} {
		if got := Seconds(seconds); got != want {
			t.Errorf("Seconds(%v) = %q, want %q", seconds, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 5 * time.Second: "5 s", 1500 * time.Millisecond: "1.5 s", 130 * time.Second: "2 min 10 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", -100: "-100", -1000: "-1,000"} {
		if got := Thousands(n); got != want {
			t.Errorf("Thousands(%d) = %q, want %q", n, got, want)
		}
	}
	if got, want := Thousands(^uint64(0)), "18,446,744,073,709,551,615"; got != want {
		t.Errorf("Thousands of the largest uint64: %q, want %q", got, want)
	}
}

func TestCounted(t *testing.T) {
	for n, want := range map[int]string{0: "0 processes", 1: "1 process", 2: "2 processes", 1000: "1,000 processes"} {
		if got := Counted(n, "process", "processes"); got != want {
			t.Errorf("Counted(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDecimal(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 0.04: "0", 0.4: "0.4", 2: "2", 9.94: "9.9", 9.96: "10", 31.2: "31", -2.25: "-2.2", 12345: "12,345"} {
		if got := Decimal(f); got != want {
			t.Errorf("Decimal(%v) = %q, want %q", f, got, want)
		}
	}
}
