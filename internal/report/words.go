package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockleak/internal/verdict"
	"sockleak/internal/words"
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
	case verdict.HalfClosed:
		return "shut down by the program, never finished by the peer, never closed"
	case verdict.HalfOpen:
		return "established here, and the peer is gone without a word"
	case verdict.Superseded:
		return "replaced by a newer connection of the same peer, never closed"
	case verdict.Abandoned:
		return "connected, and left alone by the program"
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

func thousands[N words.Integer](n N) string { return words.Thousands(n) }

// counted writes "1 socket" and "20 sockets", the number held to its noun.
func counted[N words.Integer](n N, one, many string) string {
	return strings.Replace(words.Counted(n, one, many), " ", nbsp, 1)
}

// duration writes seconds as words.Seconds does, in one piece.
func duration(seconds float64) string {
	return strings.ReplaceAll(words.Seconds(seconds), " ", nbsp)
}

// rate writes a growth per minute: "+31/min", "+0.4/min", "not growing".
func rate(perMin float64) string {
	s := words.Decimal(perMin)
	if s == "0" || s == "-0" {
		return "not growing"
	}
	if perMin > 0 {
		s = "+" + s
	}
	return s + "/min"
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

// How much of a container's id docker(1) and podman(1) show. What isn't as long as
// an id is a name (LXC, systemd-nspawn), and whole.
const (
	containerDigits = 12
	containerLength = 64
)

func shortContainer(id string) string {
	if len(id) < containerLength {
		return id
	}
	return id[:containerDigits]
}

// processName writes "crawler (pid 4242)".
func processName(p verdict.Process) string {
	s := fmt.Sprintf("%s (pid%s%d", p.Comm, nbsp, p.PID)
	if p.NSPID != nil {
		s += fmt.Sprintf(", %d in its pid namespace", *p.NSPID)
	}
	if p.Container != "" {
		s += ", container" + nbsp + shortContainer(p.Container)
	}
	return s + ")"
}

func either(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
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
