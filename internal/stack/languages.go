package stack

import (
	"path"
	"slices"
	"strings"
)

// MissingLanguage names the language whose frames a stack lacks although it went
// through its interpreter; empty if there is none.
func MissingLanguage(frames []Frame) string {
	for _, f := range frames {
		if f.Kind != Native {
			continue
		}
		kind, name := interpreterOf(&f)
		if name != "" && !slices.ContainsFunc(frames, func(f Frame) bool { return f.Kind == kind }) {
			return name
		}
	}
	return ""
}

// interpreterOf says which language's interpreter a native frame belongs to.
func interpreterOf(f *Frame) (Kind, string) {
	base := path.Base(f.Module)
	switch {
	case strings.HasPrefix(f.Function, "_PyEval_EvalFrame") || strings.HasPrefix(f.Function, "PyEval_EvalCode"),
		strings.HasPrefix(base, "libpython") || strings.HasPrefix(base, "python3"):
		return Python, "Python"
	case strings.HasPrefix(base, "libruby") || base == "ruby":
		return Ruby, "Ruby"
	case base == "libjvm.so":
		return Java, "Java"
	}
	return "", ""
}
