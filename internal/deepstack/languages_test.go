package deepstack

import (
	"flag"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sockleak/internal/langtest"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
)

var write = flag.Bool("write", false, "write the table of languages into docs/stacks.md")

// Programs in every language, attached to while they run: the first frame of
// their own is the line that makes the socket, and the walk reaches the start of
// the process or thread by way of the functions that were called.
func TestLanguages(t *testing.T) {
	needs.Root(t)
	type running struct {
		language
		program
		last   []uint64 // stacks, those of the first sockets left out
		latest uint64
		births int
	}
	byPID := map[uint32]*running{}
	var pids []uint32
	var all []*running
	table := langtest.NewTable("deepstack", "tier 1")
	for _, l := range append(examples(t), unusual(t)...) {
		r := &running{language: l}
		t.Run("start "+l.name, func(sub *testing.T) { r.program = l.program(sub, t.TempDir()) })
		if r.pid == 0 {
			table.Skip()
			continue // skipped, and said why
		}
		kill := r.cmd
		t.Cleanup(func() { end(kill) })
		byPID[r.pid] = r
		pids = append(pids, r.pid)
		all = append(all, r)
	}
	tier := open(t, Options{PIDs: pids})
	// The profiler looks at one process after the other, and at large files
	// for a second. What comes after the first whole stack has to be whole.
	const enough = 9
	collect(t, tier, 30*time.Second, func(b Birth) bool {
		r := byPID[b.PID]
		if r == nil {
			t.Errorf("a birth of process %d, which is not in scope", b.PID)
			return false
		}
		r.births++
		r.latest = b.Stack
		if len(r.last) > 0 || b.Stack != 0 && r.whole(tier.Resolve(b.Stack)) {
			r.last = append(r.last, b.Stack)
		}
		return !slices.ContainsFunc(all, func(r *running) bool { return len(r.last) < enough })
	})
	time.Sleep(10 * turn)
	for _, r := range all {
		ok := t.Run(r.name, func(t *testing.T) {
			if len(r.last) < enough {
				dump(t, tier.Resolve(r.latest))
				t.Fatalf("%d stacks as they should be of %d births", len(r.last), r.births)
			}
			check(t, tier, &r.language, &r.program, r.last)
		})
		table.Add(ok, r.name, r.gives(r.code != nil))
	}
	table.Check(t, *write)
}

// check looks at the stacks of a program.
func check(t *testing.T, tier *Tier, l *language, p *program, ids []uint64) {
	got := map[culprit]bool{}
	shown := map[uint64]bool{}
	onPath, most := false, 0
	for _, id := range ids {
		if shown[id] {
			continue
		}
		shown[id] = true
		o := tier.Resolve(id)
		if testing.Verbose() {
			dump(t, o)
		}
		if !l.whole(o) && l.partial == "" {
			t.Errorf("quality %s: %s", o.Quality, o.Reason)
		}
		frames := p.code.Name(o.Frames, p.exe)
		if o.Quality == stack.Complete && !langtest.Whole(frames) {
			t.Errorf("complete, and ends with %+v", frames[len(frames)-1])
		}
		made := found(frames, p.exe)
		got[made] = true
		onPath = onPath || made == l.want[0] && langtest.OnPath(frames, l.path)
		if o.Quality == stack.Partial {
			most = max(most, len(frames))
		}
	}
	for _, w := range l.want {
		if !got[w] {
			t.Errorf("no stack from %+v; got %+v", w, got)
		}
		delete(got, w)
	}
	if len(got) > 0 {
		t.Errorf("stacks from %+v besides", got)
	}
	if !onPath {
		t.Errorf("no stack from %+v by way of %q", l.want[0], l.path)
	}
	if most < l.least {
		t.Errorf("%d frames at most, want %d", most, l.least)
	}
}

// found is the culprit of a stack.
func found(frames []stack.Frame, exe string) culprit {
	i := stack.Culprit(frames, exe)
	if i < 0 {
		return culprit{}
	}
	f := frames[i]
	c := culprit{f.Function, filepath.Base(f.File), f.Line, f.Kind}
	if f.File == "" {
		c.file = ""
	}
	return c
}
