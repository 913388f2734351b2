package verdict

import (
	"fmt"
	"strconv"
	"time"
)

// Conclude sets the verdict of a report whose other fields are filled in, and
// the reasons for it. suspects is what the last look returned. ended: every
// process in scope has ended, so that there is nothing left to wait for.
func Conclude(r *Report, suspects int, ended bool) {
	r.Reasons = []string{}
	add := func(format string, args ...any) { r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...)) }
	watched := time.Duration(r.Duration * float64(time.Second))
	minAge := time.Duration(r.MinAge * float64(time.Second))
	t := &r.Totals

	switch {
	case len(r.Findings) > 0:
		r.Verdict = Leak
		n := 0
		for _, f := range r.Findings {
			n += f.Count
		}
		add("%s sockets that nothing will close, from %s", group3(n), plural(len(r.Findings), "origin"))
	case r.Loss.TableFull > 0:
		r.Verdict = Inconclusive
		add("%s sockets are more than --max-sockets allows and were not followed", group3(int(r.Loss.TableFull)))
	case suspects > 0 && watched < 2*minAge:
		r.Verdict = Inconclusive
		add("%s in a condition that leaks have, but not yet for %s: trace longer, or lower --min-age", plural(suspects, "socket"), human(minAge))
	case watched < minAge && !ended:
		r.Verdict = Inconclusive
		add("watched for %s only, less than the grace time of %s", human(watched), human(minAge))
	default:
		r.Verdict = NoLeak
		noLeak(r, add)
	}
	if r.Verdict != Leak && t.Winding > 0 {
		add("the kernel still holds %s whose descriptors are all closed (FIN-WAIT, LAST-ACK): it is winding them down, the program has done its part", plural(int(t.Winding), "socket"))
	}
	if r.Verdict != Leak && t.TimeWait != nil && *t.TimeWait > 0 {
		add("%s in TIME-WAIT belong to the kernel, not to the program, and go by themselves after a minute", plural(int(*t.TimeWait), "socket"))
	}
}

func noLeak(r *Report, add func(string, ...any)) {
	t := &r.Totals
	if t.Opened == 0 && t.Live == 0 {
		add("no socket was open, and none was opened")
		return
	}
	add("%s opened, %s closed, %s live: none of them in a condition that a leak has, and no origin's sockets only become more",
		group3(int(t.Opened)), group3(int(t.Closed)), group3(int(t.Live)))
	add("if memory grows, look at the heap")
	if lost := r.Loss.Events(); lost > 0 {
		add("%s events were lost; what is open was taken from the kernel's own tables, so the verdict stands for what is open, not for growth", group3(int(lost)))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return group3(n) + " " + what + "s"
}

// group3 writes a number with commas between groups of three digits.
func group3(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
