package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// shortMiddle leaves out the middle of s so that it fits max columns (0: no
// limit).
func shortMiddle(s string, max int) string {
	if max == 0 || columns(s) <= max {
		return s
	}
	head := (max - 1) / 2
	return cut(s, head) + "…" + cutEnd(s, max-1-head)
}

// shortFunction makes a function's name fit max columns (0: no limit). What
// tells the least goes first: the parameters, then the template or type
// arguments, then the path of the package, then the middle.
func shortFunction(name string, max int) string {
	if max == 0 || columns(name) <= max {
		return name
	}
	name = collapse(name, '(', ')', isParameters)
	if columns(name) <= max {
		return name
	}
	always := func(string) bool { return true }
	name = collapse(name, '<', '>', always)
	name = collapse(name, '[', ']', always)
	if i := strings.LastIndexByte(name, '/'); columns(name) > max && i > 0 {
		name = "…" + name[i:] // a Go function: the package's path is long
	}
	return shortMiddle(name, max)
}

// isParameters says whether a parenthesis after before opens a list of
// parameters. It doesn't in "(anonymous namespace)::f" and "net.(*Dialer).f".
func isParameters(before string) bool {
	r, _ := utf8.DecodeLastRuneInString(before)
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_<>)=", r)
}

// collapse writes "…" for what stands in an outermost pair of brackets that
// wanted agrees to; wanted gets what stands before the bracket. A name whose
// brackets don't match is returned as it is.
func collapse(name string, open, close byte, wanted func(before string) bool) string {
	var b strings.Builder
	depth, start := 0, 0
	for i := 0; i < len(name); i++ {
		switch {
		case operatorAt(name, i) > 0:
			n := operatorAt(name, i)
			if depth == 0 {
				b.WriteString(name[i : i+n])
			}
			i += n - 1
			continue
		case name[i] == open:
			if depth == 0 {
				start = i
			}
			depth++
			continue
		case name[i] == close && depth > 0:
			depth--
			if depth > 0 {
				continue
			}
			if inside := name[start+1 : i]; inside != "" && wanted(name[:start]) {
				b.WriteString(string(open) + "…" + string(close))
			} else {
				b.WriteString(name[start : i+1])
			}
			continue
		}
		if depth == 0 {
			b.WriteByte(name[i])
		}
	}
	if depth != 0 {
		return name
	}
	return b.String()
}

// operatorAt returns the length of "operator<<" and its like at i, and of the
// arrow in a return type: brackets that are none. Zero if there is none.
func operatorAt(name string, i int) int {
	if strings.HasPrefix(name[i:], "->") {
		return 2
	}
	rest, ok := strings.CutPrefix(name[i:], "operator")
	if !ok {
		return 0
	}
	for _, op := range []string{"<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "()", "<", ">"} {
		if strings.HasPrefix(rest, op) {
			return len("operator") + len(op)
		}
	}
	return 0
}

// shortPath makes a path, with or without a ":line", fit max columns (0: no
// limit). The file's name and line stay, then as many directories next to it as
// there is room for, and the first one.
func shortPath(path string, max int) string {
	if max == 0 || columns(path) <= max {
		return path
	}
	base := path[strings.LastIndexByte(path, '/')+1:]
	if columns(base)+2 > max { // "…/" and the name
		if columns(base) <= max {
			return base
		}
		return "…" + cutEnd(base, max-1)
	}
	first := ""
	if i := strings.IndexByte(strings.TrimPrefix(path, "/"), '/'); i > 0 {
		first = path[:len(path)-len(strings.TrimPrefix(path, "/"))+i+1]
	}
	if columns(first)+2+columns(base) > max {
		first = ""
	}
	tail := base
	for {
		rest := strings.TrimSuffix(path[:len(path)-len(tail)], "/")
		longer := path[strings.LastIndexByte(rest, '/')+1:]
		if columns(first)+2+columns(longer) > max || len(longer) == len(tail) {
			return first + "…/" + tail
		}
		tail = longer
	}
}
