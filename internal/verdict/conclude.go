package verdict

import (
	"fmt"
	"time"

	"sockleak/internal/words"
)

// Conclude sets the verdict of a report whose other fields are filled in, and
// the reasons for it, with the doubts that the last look left. ended: every
// process in scope has ended, so that there is nothing left to wait for.
func Conclude(r *Report, d Doubts, ended bool) {
	r.Reasons = []string{}
	add := func(format string, args ...any) { r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...)) }
	watched := time.Duration(r.Duration * float64(time.Second))
	minAge := time.Duration(r.MinAge * float64(time.Second))

	switch {
	case len(r.Findings) > 0:
		r.Verdict = Leak
		n := 0
		for _, f := range r.Findings {
			n += f.Count
		}
		add("%s left open, from %s", words.Counted(n, "socket", "sockets"), words.Counted(len(r.Findings), "origin", "origins"))
	case r.Loss.TableFull > 0:
		r.Verdict = Inconclusive
		add("%s more than --max-sockets allows and %s not followed",
			words.Counted(r.Loss.TableFull, "socket is", "sockets are"), either(int(r.Loss.TableFull), "was", "were"))
	case d.Suspects > 0 && watched < 2*minAge:
		r.Verdict = Inconclusive
		add("%s in a condition that leaks have, but not yet for %s: trace longer, or lower --min-age",
			words.Counted(d.Suspects, "socket is", "sockets are"), words.Duration(minAge))
	case !ended && d.conclude(r, add):
		r.Verdict = Inconclusive
	case watched < minAge && !ended:
		r.Verdict = Inconclusive
		add("watched for %s only, less than the grace time of %s", words.Duration(watched), words.Duration(minAge))
	default:
		r.Verdict = NoLeak
		noLeak(r, d, ended, add)
	}
	if r.Verdict == Leak {
		return
	}
	if n := r.Totals.Winding; n > 0 {
		add("the kernel still holds %s all closed (FIN-WAIT, LAST-ACK): it is winding %s down, the program has done its part",
			words.Counted(n, "socket whose descriptors are", "sockets whose descriptors are"), either(int(n), "it", "them"))
	}
	if n := r.Totals.TimeWait; n != nil && *n > 0 && r.Totals.TCP {
		add("%s in TIME-WAIT, or FIN-WAIT-2 without a descriptor, in the same network namespace, of whatever program, %s",
			words.Counted(*n, "socket", "sockets"), either(int(*n), "belongs to the kernel and goes by itself after a minute", "belong to the kernel and go by themselves after a minute"))
	}
}

func noLeak(r *Report, d Doubts, ended bool, add func(string, ...any)) {
	t := &r.Totals
	if t.Opened == 0 && t.Live == 0 {
		add("no socket was open, and none was opened")
		return
	}
	minAge := time.Duration(r.MinAge * float64(time.Second))
	counts := fmt.Sprintf("%s opened, %s closed, %s live", words.Thousands(t.Opened), words.Thousands(t.Closed), words.Thousands(t.Live))
	condition := "none of them in a condition that a leak has"
	if d.Suspects > 0 {
		condition = "none of them for long enough in a condition that a leak has"
	}
	watched, idle := time.Duration(r.Duration*float64(time.Second)), time.Duration(r.Idle*float64(time.Second))
	switch {
	case watched >= growthTime(minAge):
		growth := "no origin's sockets only become more"
		if d.Rising > 0 {
			growth = "what only becomes more is in use"
		}
		add("%s: %s, and %s", counts, condition, growth)
		if t.Opened > 0 && t.Live > 0 && watched < idle+growthSpan && !ended {
			add("whether connections that were opened meanwhile are abandoned takes longer to tell: an idle one is suspected after %s (--idle)",
				words.Duration(idle))
		}
	case ended:
		add("%s: %s", counts, condition)
	default:
		add("%s: %s", counts, condition)
		add("whether an origin's sockets only become more takes %s to tell", words.Duration(growthTime(minAge)))
	}
	add("if memory grows, look at the heap")
	if lost := r.Loss.Events(); lost > 0 {
		add("%s lost; what is open was taken from the kernel's own tables, so the verdict stands for what is open, not for growth",
			words.Counted(lost, "event was", "events were"))
	}
}
