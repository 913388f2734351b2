package report

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", path, got)
	}
}

func textOf(t *testing.T, r *verdict.Report, o TextOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTextGolden(t *testing.T) {
	for name, r := range fixtures() {
		for _, width := range []int{60, 80, 100} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				golden(t, fmt.Sprintf("%s-%d", name, width), textOf(t, r, TextOptions{Width: width}))
			})
		}
	}
	t.Run("crawler-all", func(t *testing.T) {
		golden(t, "crawler-all", textOf(t, crawler(), TextOptions{Width: 100, AllFrames: true}))
	})
	t.Run("checker-ascii", func(t *testing.T) {
		golden(t, "checker-ascii", textOf(t, checker(), TextOptions{Width: 60, ASCII: true}))
	})
	t.Run("hunt-ascii", func(t *testing.T) {
		golden(t, "hunt-ascii", textOf(t, hunt(), TextOptions{Width: 80, ASCII: true}))
	})
	t.Run("crawler-color", func(t *testing.T) {
		golden(t, "crawler-color", textOf(t, crawler(), TextOptions{Width: 80, Color: true}))
	})
}

func TestTextFitsEveryWidth(t *testing.T) {
	for name, r := range fixtures() {
		for width := 40; width <= 200; width += 3 {
			text := string(textOf(t, r, TextOptions{Width: width}))
			ascii := string(textOf(t, r, TextOptions{Width: width, ASCII: true}))
			if i := strings.IndexFunc(ascii, func(r rune) bool { return r > unicode.MaxASCII }); i >= 0 {
				t.Errorf("%s at width %d: %q is not ASCII", name, width, ascii[i:])
			}
			for _, l := range strings.Split(text+ascii, "\n") {
				if columns(l) > width {
					t.Errorf("%s at width %d: a line of %d columns: %q", name, width, columns(l), l)
				}
				if strings.TrimRight(l, " ") != l {
					t.Errorf("%s at width %d: a line ends in a space: %q", name, width, l)
				}
			}
		}
	}
}

// Whatever the width, file and line of the culprit can be read.
func TestTextKeepsTheLine(t *testing.T) {
	for width := 40; width <= 200; width += 3 {
		text := string(textOf(t, crawler(), TextOptions{Width: width}))
		want := 3 // in the contents, the finding, its stack
		if width == 40 {
			want = 2 // the contents have no room for it
		}
		if n := strings.Count(text, "connector.cpp:57\n"); n != want {
			t.Errorf("width %d: connector.cpp:57 is there %d times, want %d", width, n, want)
		}
	}
}

// What isn't known isn't likely either.
func TestUnknownIsNotLikely(t *testing.T) {
	r := base()
	bare := []stack.Frame{{Function: "uv__io_poll", Module: "/usr/lib/libuv.so.1", Kind: stack.Native}}
	r.Verdict, r.Findings = verdict.Leak, []verdict.Finding{{
		Class: verdict.PeerClosed, Count: 2, Origin: verdict.Origin{Quality: stack.Partial, Inferred: true, Frames: bare},
		RequestedAt: &verdict.Requested{Via: verdict.ViaLibuv, Quality: stack.Complete, Inferred: true, Frames: bare},
	}, {
		Class: verdict.Dead, Count: 2, Origin: verdict.Origin{Quality: stack.Partial, Inferred: true, Frames: bare},
	}}
	var md bytes.Buffer
	if err := Markdown(&md, r, false); err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{string(textOf(t, r, TextOptions{Width: 80})), md.String()} {
		if n := strings.Count(got, "no frame of the program's own code on the stack"); n < 3 || strings.Contains(strings.ToLower(got), "likely") {
			t.Errorf("got\n%s", got)
		}
	}
}

func TestTextColor(t *testing.T) {
	r := hunt()
	colored := textOf(t, r, TextOptions{Width: 80, Color: true})
	sgr := regexp.MustCompile("\x1b\\[(0|1|2|33|1;31)m")
	stripped := sgr.ReplaceAll(colored, nil)
	if want := textOf(t, r, TextOptions{Width: 80}); !bytes.Equal(stripped, want) {
		t.Errorf("without its colours the text is\n%s\nwant\n%s", stripped, want)
	}
	if bytes.ContainsRune(stripped, '\x1b') {
		t.Error("the name of a process brought an escape sequence into the text")
	}
	if bytes.Equal(stripped, colored) {
		t.Error("no colour although asked for")
	}
}

type closedPipe struct{ err error }

func (c closedPipe) Write([]byte) (int, error) { return 0, c.err }

func TestWriteErrorIsReturnedAsItIs(t *testing.T) {
	broken := errors.New("broken pipe")
	w := closedPipe{broken}
	s := NewSnapshot(nil, SnapshotInfo{})
	for name, err := range map[string]error{
		"Text":          Text(w, crawler(), TextOptions{}),
		"Markdown":      Markdown(w, crawler(), false),
		"JSON":          JSON(w, crawler()),
		"NDJSON":        NDJSON(w, crawler()),
		"Snapshot.Text": s.Text(w, TextOptions{}, 0),
		"Snapshot.JSON": s.JSON(w),
	} {
		if err != broken {
			t.Errorf("%s returned %v, want %v itself", name, err, broken)
		}
	}
}

func TestProgress(t *testing.T) {
	got := Progress(4031, 4007, 24, 9, 12300*time.Millisecond)
	if want := "12 s: 4,031 opened, 4,007 closed, 24 live, 9 suspect"; got != want {
		t.Errorf("Progress = %q, want %q", got, want)
	}
}
