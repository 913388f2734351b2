// Package words writes numbers and times as a reader expects them. What it
// returns has plain spaces; who wraps lines glues what belongs together.
package words

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Integer is what can be counted with.
type Integer interface {
	~int | ~int32 | ~uint32 | ~uint64
}

// Thousands writes 12345 as "12,345".
func Thousands[N Integer](n N) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Counted writes "1 socket" and "20 sockets".
func Counted[N Integer](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Thousands(n) + " " + many
}

// Decimal keeps one decimal of numbers below ten and none of larger ones.
func Decimal(f float64) string {
	if math.Abs(f) >= 9.95 {
		return Thousands(int(math.Round(f)))
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// Duration writes a time that isn't negative in the two largest units that
// matter: "0.4 s", "12 s", "3 min 20 s", "1 h 45 min", "3 d 4 h".
func Duration(d time.Duration) string { return Seconds(d.Seconds()) }

// Seconds is Duration for a number of seconds, which may be more than a
// time.Duration holds.
func Seconds(seconds float64) string {
	if seconds < 9.95 {
		return Decimal(seconds) + " s"
	}
	s := int64(math.Round(seconds))
	if s >= 3600 { // rounded again, so that the smaller unit isn't cut
		s = (s + 30) / 60 * 60
	}
	if s >= 86400 {
		s = (s + 1800) / 3600 * 3600
	}
	units := []struct {
		name    string
		seconds int64
	}{{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}}
	var parts []string
	for _, u := range units {
		if n := s / u.seconds; n > 0 {
			parts = append(parts, Thousands(int(n))+" "+u.name)
			s -= n * u.seconds
		}
	}
	return strings.Join(parts, " ")
}
