package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockleak/internal/verdict"
)

// nbsp holds a number and its unit together when lines are wrapped; page turns
// it into a plain space at the very end.
const nbsp = "\u00a0"

// Progress returns what sockleak is seeing while it waits, in one line: how
// long it has been tracing, the sockets opened and closed since, how many are
// open now, and how many of those a rule holds for so far.
func Progress(opened, closed, live uint64, suspects int, elapsed time.Duration) string {
	s := fmt.Sprintf("%s: %s opened, %s closed, %s live, %s suspect",
		duration(elapsed.Seconds()), thousands(opened), thousands(closed), thousands(live), thousands(suspects))
	return strings.ReplaceAll(s, nbsp, " ")
}

// classWords says what a class means in words that stand alone. A class it
// doesn't know has no words but its name.
func classWords(c verdict.Class) string {
	switch c {
	case verdict.NeverUsed:
		return "created, then never used and never closed"
	case verdict.ConnectPending:
		return "connect begun, never answered, never given up"
	case verdict.ConnectFailed:
		return "connect failed, never closed"
	case verdict.PeerClosed:
		return "closed by the peer, never by the program"
	case verdict.Dead:
		return "connection over, never closed"
	case verdict.Growing:
		return "opened again and again, never closed"
	case verdict.Inherited:
		return "kept open by a process that only inherited it"
	}
	return ""
}

func confidenceWords(c verdict.Confidence) string {
	switch c {
	case verdict.Medium:
		return "medium: the rule holds, but the program may have its reasons"
	case verdict.Low:
		return "low: part of the evidence is missing"
	}
	return string(c)
}

type integer interface {
	~int | ~int32 | ~uint32 | ~uint64
}

// thousands writes 12345 as 12,345.
func thousands[N integer](n N) string {
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

// counted writes "1 socket" and "20 sockets".
func counted[N integer](n N, one, many string) string {
	if n == 1 {
		return "1" + nbsp + one
	}
	return thousands(n) + nbsp + many
}

// duration writes seconds in the two largest units that matter: "0.4 s",
// "12 s", "3 min 20 s", "1 h 45 min", "3 d 4 h".
func duration(seconds float64) string {
	if seconds < 9.95 {
		return decimal(seconds) + nbsp + "s"
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
			parts = append(parts, thousands(int(n))+nbsp+u.name)
			s -= n * u.seconds
		}
	}
	return strings.Join(parts, nbsp)
}

// rate writes a growth per minute: "+31/min", "+0.4/min", "not growing".
func rate(perMin float64) string {
	s := decimal(perMin)
	if s == "0" || s == "-0" {
		return "not growing"
	}
	if perMin > 0 {
		s = "+" + s
	}
	return s + "/min"
}

// decimal keeps one decimal of numbers below ten and none of larger ones.
func decimal(f float64) string {
	if math.Abs(f) >= 9.95 {
		return thousands(int(math.Round(f)))
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// ranges writes sorted numbers as ss(8) and taskset(1) do, "7-14,20", at most
// max ranges of them (zero: all), and returns how many numbers were left out.
func ranges(sorted []int32, max int) (string, int) {
	var parts []string
	for i := 0; i < len(sorted); {
		if max > 0 && len(parts) == max {
			return strings.Join(parts, ","), len(sorted) - i
		}
		j := i
		for j+1 < len(sorted) && sorted[j+1] == sorted[j]+1 {
			j++
		}
		s := strconv.Itoa(int(sorted[i]))
		if j > i {
			s += "-" + strconv.Itoa(int(sorted[j]))
		}
		parts = append(parts, s)
		i = j + 1
	}
	return strings.Join(parts, ","), 0
}

// processName writes "crawler (pid 4242)".
func processName(p verdict.Process) string {
	if p.NSPID != nil {
		return fmt.Sprintf("%s (pid%s%d, %d in its pid namespace)", p.Comm, nbsp, p.PID, *p.NSPID)
	}
	return fmt.Sprintf("%s (pid%s%d)", p.Comm, nbsp, p.PID)
}

// most writes the first entries of a list that is sorted by weight, and how
// many others there are.
func most(entries []string, max int) string {
	if len(entries) <= max {
		return strings.Join(entries, ", ")
	}
	rest := thousands(len(entries) - max)
	return strings.Join(entries[:max], ", ") + ", and" + nbsp + rest + nbsp + "more"
}

// byCount returns the keys of m, the largest count first.
func byCount(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
	return keys
}
