package verdict

import (
	"cmp"
	"slices"
	"strings"

	"sockleak/internal/lifecycle"
	"sockleak/internal/stack"
)

// A socket can be asked for in one place and made in another. The two are never
// mixed: sockets are grouped by the first, and the report shows both.

// requested says where the sockets of a group were asked for, nil if it is not
// known.
func (j *Judge) requested(g *group, names Names) *Requested {
	i := slices.IndexFunc(g.members, func(m member) bool { return m.AskVia == lifecycle.ByLibuv })
	if i < 0 {
		return nil
	}
	o := names.Origin(g.key.process, g.members[i].AskStack)
	r := &Requested{
		Via: ViaLibuv, Quality: o.Quality, Reason: o.Reason, Frames: o.Frames,
		Inferred: slices.ContainsFunc(g.members, func(m member) bool { return m.AskStack == 0 }),
		Culprit:  culprit(o.Frames, g.key.process, names),
	}
	if r.Frames == nil {
		r.Frames = []stack.Frame{}
	}
	return r
}

// madeOn is the stack that most of a group were made on.
func madeOn(g *group) uint64 {
	counts := map[uint64]int{}
	for i := range g.members {
		if m := &g.members[i]; m.AskVia == lifecycle.ByLibuv && m.Stack != 0 {
			counts[m.Stack]++
		}
	}
	most := g.key.stack
	for id, n := range counts {
		if c := cmp.Compare(n, counts[most]); c > 0 || c == 0 && id < most {
			most = id
		}
	}
	return most
}

// asking reports whether a stack is one where a socket was asked for: it begins
// in the function of libuv that makes a handle.
func asking(frames []stack.Frame) bool {
	return len(frames) > 0 && strings.HasPrefix(frames[0].Function, "uv_")
}

// own is the frames of the program's own code. Below it there is the event loop,
// which comes to it by many ways.
func own(frames []stack.Frame, exe string) []stack.Frame {
	var all []stack.Frame
	for len(frames) > 0 {
		i := stack.Culprit(frames, exe)
		if i < 0 {
			break
		}
		all = append(all, frames[i])
		frames = frames[i+1:]
	}
	return all
}
