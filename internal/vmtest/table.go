package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// testEvent is a line of go test -json: go doc test2json.
type testEvent struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// column is what came of the tests on one kernel.
type column struct {
	kernel  string
	release string
	results map[string]string // test -> pass, FAIL, skip
	output  map[string]string // test -> what it said
	order   []string
}

// tableMain prints the results side by side. The status is 1 if any test
// failed, or did not run on one kernel but on another.
func tableMain(args []string, w io.Writer) (status int, err error) {
	if len(args) == 0 {
		return 2, fmt.Errorf("wrong arguments\n%s", usage)
	}
	var columns []column
	for _, arg := range args {
		kernel, file, ok := strings.Cut(arg, "=")
		if !ok {
			return 2, fmt.Errorf("wrong arguments\n%s", usage)
		}
		c, err := readColumn(kernel, file)
		if err != nil {
			return 1, err
		}
		columns = append(columns, c)
	}
	good, err := writeTable(w, columns)
	if err == nil && !good {
		status = 1
	}
	return status, err
}

// readColumn reads what go test -json wrote. A kernel without a file has no
// results.
func readColumn(kernel, file string) (column, error) {
	c := column{kernel: kernel, results: map[string]string{}, output: map[string]string{}}
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer f.Close()
	return c, c.read(f)
}

func (c *column) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e testEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("parse the results of %s: %w", c.kernel, err)
		}
		c.add(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the results of %s: %w", c.kernel, err)
	}
	return nil
}

func (c *column) add(e testEvent) {
	if name, ok := strings.CutPrefix(e.Output, "vmtest: kernel "); ok {
		c.release = strings.TrimSpace(name)
	}
	name := e.Package[strings.LastIndexByte(e.Package, '/')+1:]
	if e.Test != "" {
		name += "." + e.Test
	}
	switch e.Action {
	case "output":
		c.output[name] += e.Output
	case "pass", "skip", "fail":
		// A package has a row only if it failed: its tests may not have begun.
		if e.Test == "" && e.Action != "fail" {
			return
		}
		if !slices.Contains(c.order, name) {
			c.order = append(c.order, name)
		}
		c.results[name] = strings.Replace(e.Action, "fail", "FAIL", 1)
	}
}

// writeTable reports whether every cell has a result and none is a failure.
func writeTable(w io.Writer, columns []column) (good bool, err error) {
	good = true
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "test")
	for _, c := range columns {
		fmt.Fprint(table, "\t", c.kernel)
	}
	fmt.Fprintln(table)
	for _, test := range rows(columns) {
		fmt.Fprint(table, test)
		for _, c := range columns {
			cell := c.results[test]
			switch {
			case cell != "":
			case isPackage(test):
				cell = "ok"
			default:
				cell = "NOT RUN"
			}
			good = good && cell != "FAIL" && cell != "NOT RUN"
			fmt.Fprint(table, "\t", cell)
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return false, fmt.Errorf("write the table: %w", err)
	}
	for _, c := range columns {
		if len(c.results) == 0 {
			good = false
		}
		writeDetails(w, c)
	}
	return good, nil
}

// rows are the tests of all kernels without their subtests, in the order of the
// first that ran them.
func rows(columns []column) []string {
	var all []string
	for _, c := range columns {
		for _, test := range c.order {
			if !strings.Contains(test, "/") && !slices.Contains(all, test) {
				all = append(all, test)
			}
		}
	}
	return all
}

func isPackage(row string) bool { return !strings.Contains(row, ".") }

// writeDetails says what a kernel was, and why tests were skipped or failed.
func writeDetails(w io.Writer, c column) {
	release := c.release
	if release == "" {
		release = "no results"
	}
	fmt.Fprintf(w, "\n%s: %s\n", c.kernel, release)
	for _, test := range c.order {
		if result := c.results[test]; result != "pass" {
			fmt.Fprintf(w, "  %s %s\n%s", result, test, indented(c.output[test]))
		}
	}
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- ") {
			continue
		}
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}
