package casebook

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/verdict"
)

// idle is given to sockleak as --idle: half of the default, and the shortest that
// makes sense, so that the whole takes minutes.
const idle = 60 * time.Second

// aged is how long the programs of the stories run before the rules that need
// the idle time are put to the test.
const aged = idle + 25*time.Second

// attach traces the programs for a time, as a user would.
func attach(t *testing.T, sockleak string, programs []*Program, duration time.Duration, more ...string) (time.Time, []arrival) {
	t.Helper()
	tell(programs)
	args := []string{"attach", "--output", "ndjson", "--top", "0", "--idle", idle.String()}
	begun, reports := trace(t, sockleak, programs, duration, slices.Concat(args, more, pids(t, programs))...)
	for n := range reports {
		for _, f := range ownerless(programs, &reports[n].report) {
			t.Errorf("of no program, or of a child that has ended: %s (pid %d): %s", f.Process.Comm, f.Process.PID, short(f))
		}
	}
	return begun, reports
}

// tell tells those that wait for it that they are traced now.
func tell(programs []*Program) {
	for _, p := range programs {
		if p.traced != nil {
			p.traced()
		}
	}
}

// storyTimes are how long each story's programs are traced. The gateway's need
// more than the idle time to show where its connections were accepted.
var storyTimes = []struct {
	story    int
	duration time.Duration
}{{3, 30 * time.Second}, {5, 30 * time.Second}, {2, 40 * time.Second}, {1, 60 * time.Second}, {4, idle + 40*time.Second}}

// TestStories traces each story's leaking programs alone, and prints how long it
// took to the first correct finding. They have been running for a while.
func TestStories(t *testing.T) {
	onDemand(t)
	t.Parallel() // what it waits for is time
	sockleak := buildSockleak(t)
	programs := cast(t, slices.DeleteFunc(stories(), func(c Case) bool { return len(c.Want) == 0 }))
	begun := time.Now()
	var all []result
	for _, s := range storyTimes {
		own := slices.DeleteFunc(slices.Clone(programs), func(p *Program) bool { return p.Case.Story != s.story })
		if len(own) == 0 {
			continue
		}
		if s.story != 3 { // its rules need no idle time
			time.Sleep(time.Until(begun.Add(aged)))
		}
		recording := filepath.Join(t.TempDir(), "recording")
		started, reports := attach(t, sockleak, own, s.duration, "--record", recording)
		saveText(t, sockleak, recording, fmt.Sprintf("story%d", s.story))
		t.Logf("story %d: sockleak traced after %.1f s", s.story, reports[0].report.Started.Sub(started).Seconds())
		results := examine(t, own, reports)
		for i := range results {
			if late := results[i].late(minAge(&reports[0].report)); late != "" {
				t.Errorf("%s: %s", results[i].program.Case.Name, late)
			}
			results[i].tell(t)
		}
		all = append(all, results...)
	}
	writeTable(t, "stories", all)
}

// TestVerdicts traces, each alone, the healthy programs whose report must say
// something: nothing to be found is an answer too.
func TestVerdicts(t *testing.T) {
	onDemand(t)
	t.Parallel() // what it waits for is time
	sockleak := buildSockleak(t)
	programs := cast(t, slices.DeleteFunc(stories(), func(c Case) bool { return c.Says == "" }))
	for _, p := range programs {
		own := []*Program{p}
		recording := filepath.Join(t.TempDir(), "recording")
		_, reports := attach(t, sockleak, own, 25*time.Second, "--record", recording)
		saveText(t, sockleak, recording, strings.ReplaceAll(p.Case.Name, "/", "-"))
		results := examine(t, own, reports)
		results[0].tell(t)
		last := &reports[len(reports)-1].report
		if last.Verdict != verdict.NoLeak || !strings.Contains(strings.Join(last.Reasons, "; "), p.Case.Says) {
			t.Errorf("%s: verdict %s because %q, want %s, and %q among the reasons",
				p.Case.Name, last.Verdict, last.Reasons, verdict.NoLeak, p.Case.Says)
		}
	}
}

// watched is how long the further programs are traced: the healthy ones must be
// left in peace for 90 s at least, and an established connection may be
// suspected only after --idle.
const watched = 100 * time.Second

// TestCasebook traces the healthy twins of the stories and all further programs,
// leaking and healthy, by their ids.
func TestCasebook(t *testing.T) {
	onDemand(t)
	t.Parallel() // what it waits for is time
	sockleak := buildSockleak(t)
	healthy := slices.DeleteFunc(stories(), func(c Case) bool { return len(c.Want) > 0 })
	programs := cast(t, slices.Concat(healthy, further()))
	if len(programs) == 0 {
		t.Skip("no case has such a name")
	}
	_, reports := attach(t, sockleak, programs, watched)
	results := examine(t, programs, reports)
	for i := range results {
		results[i].tell(t)
	}
	writeTable(t, "further", results)
}

// TestAllAtOnce traces the whole machine while all programs of the casebook run.
func TestAllAtOnce(t *testing.T) {
	onDemand(t)
	sockleak := buildSockleak(t)
	k := newKin(t)
	programs := cast(t, append(stories(), further()...))
	tell(programs)
	k.note(t, programs)
	_, reports := trace(t, sockleak, programs, watched, "hunt", "--stacks", "deep", "--output", "ndjson", "--top", "0",
		"--idle", idle.String(), "--exclude", "casebook.test")
	k.note(t, programs)
	results := examine(t, programs, reports)
	for i := range results {
		results[i].tell(t)
	}
	for n := range reports {
		for _, f := range ownerless(programs, &reports[n].report) {
			if why := k.of(t, f.Process); why != "" {
				t.Errorf("of no program, or of a child that has ended: %s (pid %d): %s; %s", f.Process.Comm, f.Process.PID, short(f), why)
			} else if n == len(reports)-1 {
				t.Logf("of none of ours: %s (pid %d): %s", f.Process.Comm, f.Process.PID, short(f))
			}
		}
	}
}
