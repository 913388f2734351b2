package casebook

import (
	"testing"
	"time"
)

// TestStories traces each story's programs alone, as a user would, and prints how
// long it took to the first correct finding. All have been running for a while.
func TestStories(t *testing.T) {
	needs(t)
	sockleak := buildSockleak(t)
	programs := cast(t, stories())
	var all []result
	for story := 1; story <= 5; story++ {
		var own []*Program
		for _, p := range programs {
			if p.Case.Story == story {
				own = append(own, p)
			}
		}
		if len(own) == 0 {
			continue
		}
		begun, reports := trace(t, sockleak, append([]string{"attach", "--output", "ndjson", "--for", "40s"}, pids(t, own)...)...)
		t.Logf("story %d: sockleak traced after %.1f s", story, reports[0].report.Started.Sub(begun).Seconds())
		results := examine(t, own, reports)
		for i := range results {
			results[i].tell(t)
		}
		all = append(all, results...)
	}
	writeTable(t, "stories", all)
}

// watched is how long the further programs are traced: the healthy ones must be
// left in peace for 90 s at least, and an established connection may be
// suspected only after --idle.
const watched = 150 * time.Second

// TestCasebook traces all further programs, leaking and healthy, by their ids.
func TestCasebook(t *testing.T) {
	needs(t)
	sockleak := buildSockleak(t)
	programs := cast(t, further())
	if len(programs) == 0 {
		t.Skip("no case has such a name")
	}
	_, reports := trace(t, sockleak, append([]string{"attach", "--output", "ndjson", "--top", "0", "--for", watched.String()}, pids(t, programs)...)...)
	results := examine(t, programs, reports)
	for i := range results {
		results[i].tell(t)
	}
	writeTable(t, "further", results)
}

// TestAllAtOnce traces the whole machine while all programs of the casebook run.
func TestAllAtOnce(t *testing.T) {
	needs(t)
	sockleak := buildSockleak(t)
	programs := cast(t, append(stories(), further()...))
	_, reports := trace(t, sockleak, "hunt", "--stacks", "deep", "--output", "ndjson", "--top", "0", "--for", watched.String())
	results := examine(t, programs, reports)
	for i := range results {
		results[i].tell(t)
	}
	last := &reports[len(reports)-1].report
	for i := range last.Findings {
		if f := &last.Findings[i]; owner(programs, f) == nil {
			t.Logf("of none of ours: %s (pid %d): %s", f.Process.Comm, f.Process.PID, short(f))
		}
	}
}
