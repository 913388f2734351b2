// Package casebook runs small programs that leak as real ones do, and their
// healthy twins, and holds what sockleak says about them against what is known
// of them. `make casebook` runs it; docs/casebook.md is what it found.
package casebook

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sockleak/internal/verdict"
)

// Case is a program, how it is run, and what sockleak must say about it.
type Case struct {
	// Name is unique, in the style of a test's name; twins differ in their
	// last word: "dns/leak", "dns/ok".
	Name string
	// Story is 1 to 5, 0 for a program that belongs to none.
	Story    int
	Language string
	Does     string // in one line, for docs/casebook.md
	// Source is a file in programs, or a folder for a Go program; its ending
	// says how it is built. Flags are added to the compiler's, after the source.
	Source string
	Flags  []string
	// Args are the program's arguments, "leak" or "ok" first. Setup makes what
	// the program needs around it and returns further ones; nil: nothing.
	Args  []string
	Setup func(*Stage) []string
	// Linux is the version, major and minor, that brought what the program says is
	// unsupported without it. Zero: any kernel has what it needs.
	Linux [2]int
	// Want is what must be found; empty for a healthy program. The count of each
	// is compared with the program's own.
	Want []Want
	// Says must be in the reasons of the report when the program alone is
	// traced. For a healthy program of a story; empty: anything goes.
	Says string
}

// Want is one finding.
type Want struct {
	Class verdict.Class
	// Lag is how long after a socket was leaked the rule of Class takes by its
	// nature to hold; 0: no longer than the grace time.
	Lag time.Duration
	// Function is the culprit's, without parameters. It must be on the line
	// that is marked LEAK in the source, or whose mark is Mark.
	Function string
	Mark     string
	// NoOrigin says why no function and line are wanted: what creates the
	// socket isn't the program's own code. The culprit must then be empty.
	NoOrigin string
	// Asked is the function that asked for the sockets, on the line that is
	// marked; empty: anything goes.
	Asked string
	// Library says why Function is of a library and on no line of the source:
	// nothing of the program's own is on the stack. Empty: it is the program's.
	Library string
	// Holder is the name of the process that holds the sockets, if that isn't
	// the program itself; the finding may be of either.
	Holder string
	// OnlyNew says why sockets from before tracing began can't be among them, and
	// may be in findings without an origin, of the class Before; empty: they must be
	// among them.
	OnlyNew string
	Before  verdict.Class
	// Peer is an address, with or without port; empty: as the program says.
	Peer string
	// States must all be among the states of the finding; empty: anything goes.
	States []string
}

// canRest: the program leaks by itself, and no rule needs longer to find it than a
// trace goes on without the program.
func (c *Case) canRest() bool {
	return len(c.Want) > 0 && !slices.ContainsFunc(c.Want, func(w Want) bool { return w.Lag > 0 })
}

// told is the word by which the program counts what a Want is of; empty if it has
// one count for all that it leaks.
func (c *Case) told(w *Want) string {
	if len(c.Want) == 1 {
		return ""
	}
	return string(w.Class)
}

// mark is the comment on the line that creates the sockets that leak.
const mark = "LEAK"

// programs is where the sources are.
const programs = "programs"

// path is where the source is, for a Go program its main file.
func (c *Case) path(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(programs, c.Source))
	if err != nil {
		t.Fatalf("find the source of %s: %v", c.Name, err)
	}
	if filepath.Ext(path) == "" {
		path = filepath.Join(path, "main.go")
	}
	return path
}

// line is where the marked line of a source is, as "file.c:57".
func line(source, marker string) (string, error) {
	if marker == "" {
		marker = mark
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("read the source: %w", err)
	}
	found := 0
	for i, l := range strings.Split(string(text), "\n") {
		if !endsWithWord(l, marker) {
			continue
		}
		if found != 0 {
			return "", fmt.Errorf("%s has more than one line marked %s", source, marker)
		}
		found = i + 1
	}
	if found == 0 {
		return "", fmt.Errorf("%s has no line marked %s", source, marker)
	}
	return fmt.Sprintf("%s:%d", filepath.Base(source), found), nil
}

// endsWithWord says whether a line ends in a comment that begins with the word:
// "// LEAK", "/* LEAK */", "# LEAK: why".
func endsWithWord(line, word string) bool {
	for _, opening := range []string{"// ", "/* ", "# "} {
		if _, comment, ok := strings.Cut(line, opening+word); ok {
			return comment == "" || strings.HasPrefix(comment, ":") || strings.HasPrefix(comment, " */")
		}
	}
	return false
}
