package deepstack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSymbolsReadable(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"shown", "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _stext\n", ""},
		{"hidden", "0000000000000000 A fixed_percpu_data\n0000000000000000 T _stext\n", "CAP_SYSLOG"},
		{"none", "", "CAP_SYSLOG"},
	} {
		path := filepath.Join(t.TempDir(), "kallsyms")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := symbolsReadable(path)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if err := symbolsReadable(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("no error without the file")
	}
}
