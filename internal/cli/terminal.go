package cli

import (
	"os"
	"strings"

	"golang.org/x/term"

	"sockleak/internal/report"
)

// textOptions lays a text out for where it goes. What isn't a terminal has no
// width.
func textOptions(w any) report.TextOptions {
	width, ok := terminal(w)
	ascii := !utf8Locale(os.Getenv) || ok && plainTerminal(os.Getenv("TERM"))
	return report.TextOptions{Width: width, Color: color(w), ASCII: ascii}
}

// terminal is what is known of the terminal behind a stream: whether there is
// one, and its width in columns.
func terminal(w any) (width int, ok bool) {
	f, isFile := w.(interface{ Fd() uintptr }) // a file, or an output
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return width, true
}

// color obeys NO_COLOR (no-color.org) and dumb terminals.
func color(w any) bool {
	_, ok := terminal(w)
	return ok && os.Getenv("NO_COLOR") == "" && !strings.HasPrefix(os.Getenv("TERM"), "dumb")
}

// plainTerminal reports whether a terminal has no more than letters: the kernel's
// console has fonts without most of the block characters. systemctl(1) decides
// likewise.
func plainTerminal(name string) bool { return strings.HasPrefix(name, "dumb") || name == "linux" }

// utf8Locale reports whether characters are encoded in UTF-8, by the variables
// that setlocale(3) looks at: the first that is set decides, and none is the C
// locale, which is ASCII. macOS sends "UTF-8" without a language over ssh.
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		locale := getenv(name)
		if locale == "" {
			continue
		}
		codeset := locale[strings.IndexByte(locale, '.')+1:]
		codeset, _, _ = strings.Cut(codeset, "@")
		return strings.EqualFold(codeset, "UTF-8") || strings.EqualFold(codeset, "utf8")
	}
	return false
}
