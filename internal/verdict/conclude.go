package verdict

import (
	"fmt"
	"time"

	"sockleak/internal/words"
)

// Conclude sets the verdict of a report whose other fields are filled in, and
// the reasons for it.
func Conclude(r *Report, o Outlook) {
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
	case o.Suspects > 0 && watched < 2*minAge:
		r.Verdict = Inconclusive
		add("%s in a condition that leaks have, but not yet for %s: trace longer, or lower --min-age",
			words.Counted(o.Suspects, "socket is", "sockets are"), words.Duration(minAge))
	case watched < minAge && !o.Ended:
		r.Verdict = Inconclusive
		add("watched for %s only, less than the grace time of %s", words.Duration(watched), words.Duration(minAge))
	case !o.Ended && unsure(r, o.Rising, add):
		r.Verdict = Inconclusive
	default:
		r.Verdict = NoLeak
		noLeak(r, o, add)
	}
	if r.Verdict == Leak {
		return
	}
	if n := r.Totals.Winding; n > 0 {
		add("the kernel still holds %s all closed (FIN-WAIT, LAST-ACK): it is winding %s down, the program has done its part",
			words.Counted(n, "socket whose descriptors are", "sockets whose descriptors are"), either(int(n), "it", "them"))
	}
	if n := r.Totals.TimeWait; n != nil && *n > 0 {
		add("%s to the kernel, not to the program, and %s after a minute",
			words.Counted(*n, "socket in TIME-WAIT, or FIN-WAIT-2 without a descriptor, belongs", "sockets in TIME-WAIT, or FIN-WAIT-2 without a descriptor, belong"), either(int(*n), "goes by itself", "go by themselves"))
	}
}

// unsure says what was not watched for long enough to be called no leak.
func unsure(r *Report, rising Rising, add func(string, ...any)) bool {
	watched, idle := time.Duration(r.Duration*float64(time.Second)), time.Duration(r.Idle*float64(time.Second))
	// Where there was time enough, a few that began late are no reason to doubt.
	early := rising.Early > 0 && watched < 2*growthTime(time.Duration(r.MinAge*float64(time.Second)))
	if early {
		add("%s", risingEarly(r, rising))
	}
	used := rising.Used > 0 && watched < idle+growthSpan
	if used {
		add("%s from origins that only open more, and an idle connection is suspected after %s (--idle): trace for %s or longer",
			words.Counted(rising.Used, "socket is", "sockets are"), words.Duration(idle), words.Duration(idle+growthSpan))
	}
	if n := rising.Nameless; n > 0 {
		add("%s more and more, and where they are made is not known: it takes stacks to tell", words.Counted(n, "socket became", "sockets became"))
	}
	return early || used || rising.Nameless > 0
}

func risingEarly(r *Report, rising Rising) string {
	return fmt.Sprintf("%s from origins that only opened more so far, and whether that is a leak takes %s to tell: trace longer",
		words.Counted(rising.Early, "socket is", "sockets are"), words.Duration(growthTime(time.Duration(r.MinAge*float64(time.Second)))))
}

func noLeak(r *Report, o Outlook, add func(string, ...any)) {
	t := &r.Totals
	if t.Opened == 0 && t.Live == 0 {
		add("no socket was open, and none was opened")
		return
	}
	minAge := time.Duration(r.MinAge * float64(time.Second))
	counts := fmt.Sprintf("%s opened, %s closed, %s live", words.Thousands(t.Opened), words.Thousands(t.Closed), words.Thousands(t.Live))
	condition := "none of them in a condition that a leak has"
	if o.Suspects > 0 {
		condition = "none of them for long enough in a condition that a leak has"
	}
	watched, idle := time.Duration(r.Duration*float64(time.Second)), time.Duration(r.Idle*float64(time.Second))
	switch {
	case watched >= growthTime(minAge):
		more := "no origin's sockets only become more"
		if n := o.Rising.Used; n > 0 {
			more = fmt.Sprintf("of those whose origins only open more, %s, hardly any was silent for %s", words.Thousands(n), words.Duration(idle))
		}
		add("%s: %s, and %s", counts, condition, more)
		if t.Opened > 0 && t.Live > 0 && watched < idle+growthSpan && !o.Ended {
			add("whether connections that were opened meanwhile are abandoned takes longer to tell: an idle one is suspected after %s (--idle)",
				words.Duration(idle))
		}
	case o.Ended:
		add("%s: %s", counts, condition)
	default:
		add("%s: %s", counts, condition)
		add("whether an origin's sockets only become more takes %s to tell", words.Duration(growthTime(minAge)))
	}
	if o.Rising.Early > 0 && !o.Ended {
		add("%s", risingEarly(r, o.Rising))
	}
	add("if memory grows, look at the heap")
	if lost := r.Loss.Events(); lost > 0 {
		add("%s lost; what is open was taken from the kernel's own tables, so the verdict stands for what is open, not for growth",
			words.Counted(lost, "event was", "events were"))
	}
}
