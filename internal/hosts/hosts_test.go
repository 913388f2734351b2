package hosts

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		text string
		want map[string]string
	}{
		"empty": {"", nil},
		"usual": {"127.0.0.1\tlocalhost\n127.0.1.1 box.example box\n# a comment\n\n::1 localhost ip6-localhost # more\n192.0.2.7 status.example",
			map[string]string{"127.0.0.1": "localhost", "127.0.1.1": "box.example", "::1": "localhost", "192.0.2.7": "status.example"}},
		"the first line counts":  {"10.0.0.1 one\n10.0.0.1 two\n::ffff:10.0.0.2 mapped\n10.0.0.2 plain\n", map[string]string{"10.0.0.1": "one", "10.0.0.2": "mapped"}},
		"DOS lines":              {"10.0.0.1 one\r\n10.0.0.2 two\r\n", map[string]string{"10.0.0.1": "one", "10.0.0.2": "two"}},
		"a zone":                 {"fe80::1%eth0 router\n", map[string]string{"fe80::1%eth0": "router"}},
		"blocked":                {"0.0.0.0 ads.example\n:: ads.example\n", nil},
		"no address, no name":    {"localhost 127.0.0.1\n10.0.0.1\n10.0.0.300 x\n10.0.0.1 # one\n \t \n", nil},
		"a name that is none":    {"10.0.0.1 \x1b[31mred\n10.0.0.2 a/b\n10.0.0.3 " + strings.Repeat("x", 254) + "\n10.0.0.4 ok_1.example\n", map[string]string{"10.0.0.4": "ok_1.example"}},
		"a line that names more": {"10.0.0.1 one two three\n", map[string]string{"10.0.0.1": "one"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := Table{}
			for a, name := range tt.want {
				want[netip.MustParseAddr(a)] = name
			}
			if got := Parse(tt.text); !maps.Equal(got, want) {
				t.Errorf("Parse = %v, want %v", got, want)
			}
		})
	}
}

func TestName(t *testing.T) {
	table := Parse("192.0.2.7 status\n2001:db8::7 six\nfe80::1%eth0 router\nfe80::2 printer\n")
	for a, want := range map[string]string{
		"192.0.2.7": "status", "::ffff:192.0.2.7": "status", "192.0.2.8": "", "2001:db8::7": "six",
		"fe80::1%eth0": "router", "fe80::1%eth1": "", "fe80::2%eth1": "printer",
	} {
		if got := table.Name(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is called %q, want %q", a, got, want)
		}
	}
}

func writeHosts(t *testing.T, root, text string) {
	t.Helper()
	path := filepath.Join(root, "etc", "hosts")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	write := func(root, text string) {
		t.Helper()
		writeHosts(t, root, text)
	}
	var files Files
	named := func(root, want string) {
		t.Helper()
		table, err := files.Below(root)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.Name(netip.MustParseAddr("10.0.0.1")); got != want {
			t.Errorf("10.0.0.1 is called %q, want %q", got, want)
		}
	}
	if _, err := files.Below(root); err == nil {
		t.Error("no file, and no error")
	}
	write(root, "10.0.0.1 one\n")
	write(other, "10.0.0.1 other-one\n")
	named(root, "one")
	named(other, "other-one")
	named(root, "one")
	if len(files.tables) != 2 {
		t.Errorf("%d files were read, want 2", len(files.tables))
	}
	write(root, "10.0.0.1 another\n")
	named(root, "another")

	// A line that the limit cuts is none.
	long := strings.Repeat("#", maxSize-len("\n10.0.0.1 cu")) + "\n10.0.0.1 cut-off\n"
	write(root, long)
	named(root, "")
	write(root, "10.0.0.1 one\n"+long)
	named(root, "one")
}

// More files than are kept begin anew; one that is kept takes nothing from others.
func TestFilesAreBounded(t *testing.T) {
	var files Files
	var roots []string
	below := func(root string, want int) {
		t.Helper()
		if _, err := files.Below(root); err != nil {
			t.Fatal(err)
		}
		if got := len(files.tables); got != want {
			t.Fatalf("%d files are kept, want %d", got, want)
		}
	}
	for i := range maxTables {
		root := t.TempDir()
		roots = append(roots, root)
		writeHosts(t, root, "10.0.0.1 one\n")
		below(root, i+1)
	}
	for _, root := range roots {
		below(root, maxTables)
	}
	root := t.TempDir()
	writeHosts(t, root, "10.0.0.1 one\n")
	below(root, 1)
}

// Whatever a file holds, its names are names.
func FuzzParse(f *testing.F) {
	f.Add("127.0.0.1 localhost\n::1 localhost # comment\n")
	f.Add("10.0.0.1 \x1b[31m\n%\x00 x")
	f.Fuzz(func(t *testing.T, text string) {
		for a, name := range Parse(text) {
			if !a.IsValid() || a.Is4In6() || !isName(name) || name == "" {
				t.Errorf("%v is called %q", a, name)
			}
		}
	})
}
