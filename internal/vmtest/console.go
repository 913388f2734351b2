package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// result is what the console told about the job.
type result struct {
	ended  bool
	status int      // if ended
	last   []string // the last lines, of the kernel too
	err    error    // why the console ended, if not at its end
}

// keepLines is how much of the console explains a crash: a panic with its stack.
const keepLines = 60

// copyConsole copies what the job wrote, which stands between the two marks.
func copyConsole(w io.Writer, console io.Reader) result {
	var r result
	started := false
	// The empty line before the end mark is the mark's: it has to start a line
	// even after output that did not end one.
	held := false
	lines := bufio.NewReader(console)
	for {
		line, err := lines.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		if line != "" {
			r.last = append(r.last, text)
			r.last = r.last[max(0, len(r.last)-keepLines):]
		}
		if name, ok := strings.CutPrefix(text, startMark); ok && !started {
			started, held = true, false
			fmt.Fprintf(w, "vmtest: kernel %s\n", name)
		} else if status, ok := strings.CutPrefix(text, endMark); ok {
			if n, err := strconv.Atoi(status); err == nil {
				r.ended, r.status = true, n
			}
		} else if started && !r.ended {
			if held {
				io.WriteString(w, "\n")
			}
			if held = line == "\n"; !held {
				io.WriteString(w, line)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.err = fmt.Errorf("read the console: %w", err)
			}
			return r
		}
	}
}
