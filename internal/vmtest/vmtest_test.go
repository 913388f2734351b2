package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestCopyConsole(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name    string
		console io.Reader
		output  string
		want    result
	}{
		{
			"everything between the marks",
			strings.NewReader("boot\r\n\nVMTEST START 6.1 x86_64\nok\n\nmore\n\nVMTEST END 3\n"),
			"vmtest: kernel 6.1 x86_64\nok\n\nmore\n",
			result{ended: true, status: 3, last: []string{"boot", "", "VMTEST START 6.1 x86_64", "ok", "", "more", "", "VMTEST END 3"}},
		},
		{
			"output that does not end its last line",
			strings.NewReader("VMTEST START 6.1 x86_64\nok\nVMTEST END 0\n"),
			"vmtest: kernel 6.1 x86_64\nok\n",
			result{ended: true, last: []string{"VMTEST START 6.1 x86_64", "ok", "VMTEST END 0"}},
		},
		{
			"a panic",
			strings.NewReader("VMTEST START 6.1 x86_64\nKernel panic"),
			"vmtest: kernel 6.1 x86_64\nKernel panic",
			result{last: []string{"VMTEST START 6.1 x86_64", "Kernel panic"}},
		},
		{
			"a console that breaks",
			io.MultiReader(strings.NewReader("boot\n"), errReader{broken}),
			"",
			result{last: []string{"boot"}, err: broken},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			got := copyConsole(&out, tt.console)
			if !errors.Is(got.err, tt.want.err) {
				t.Errorf("error %v, want %v", got.err, tt.want.err)
			}
			got.err = tt.want.err
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("result %+v, want %+v", got, tt.want)
			}
			if out.String() != tt.output {
				t.Errorf("output %q, want %q", out.String(), tt.output)
			}
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	program, deep := filepath.Join(dir, "program"), filepath.Join(dir, "package", "testdata", "deep")
	root := filepath.Join(dir, "root")
	for _, dir := range []string{deep, filepath.Join(root, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		program: "123", filepath.Join(deep, "file"): "12345", filepath.Join(root, "bin", "true"): "1",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var archive bytes.Buffer
	j := job{Dir: filepath.Join(dir, "package"), Command: []string{program, "-x"}}
	if err := fill(newInitramfs(&archive), program, root, j); err != nil {
		t.Fatal(err)
	}
	in := dir[1:]
	want := map[string]string{
		"dev/console": "020600 ", "init": "100755 123", in + "/program": "100755 123",
		"vmtest.json":                      `100755 {"dir":"/` + in + `/package","env":null,"command":["/` + in + `/program","-x"]}`,
		"etc/hosts":                        "100755 127.0.0.1 localhost\n::1 localhost\n",
		in + "/package/testdata/deep/file": "100755 12345", "bin": "040755 ", "bin/true": "100755 1", "TRAILER!!!": "000000 ",
	}
	for _, name := range []string{"dev", "etc", in, in + "/package", in + "/package/testdata", in + "/package/testdata/deep"} {
		for ; name != "."; name = path.Dir(name) {
			want[name] = "040755 "
		}
	}
	if got := readNewc(t, archive.Bytes()); !reflect.DeepEqual(got, want) {
		t.Errorf("archive %q, want %q", got, want)
	}
}

// readNewc returns the mode and content of every entry. Each begins with 13
// numbers of 8 hexadecimal digits after the magic number.
func readNewc(t *testing.T, b []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for at := 0; at < len(b); {
		head := string(b[at : at+110])
		field := func(i int) int {
			n, err := strconv.ParseUint(head[6+8*i:14+8*i], 16, 32)
			if err != nil || head[:6] != "070701" {
				t.Fatalf("header %q: %v", head, err)
			}
			return int(n)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(b[at+110 : at+110+nameSize-1])
		at = (at + 110 + nameSize + 3) &^ 3
		if _, ok := files[name]; ok {
			t.Errorf("%s is there twice", name)
		}
		files[name] = fmt.Sprintf("%06o %s", mode, b[at:at+size])
		at = (at + size + 3) &^ 3
	}
	return files
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines ...string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := write("old",
		`{"Action":"output","Package":"m/p","Output":"vmtest: kernel 5.10.0 x86_64\n"}`,
		`{"Action":"pass","Package":"m/p","Test":"TestA"}`,
		`{"Action":"output","Package":"m/p","Test":"TestB","Output":"=== RUN   TestB\n"}`,
		`{"Action":"output","Package":"m/p","Test":"TestB","Output":"    b_test.go:1: needs more\n"}`,
		`{"Action":"skip","Package":"m/p","Test":"TestB"}`,
		`{"Action":"pass","Package":"m/p"}`)
	bad := write("bad",
		`{"Action":"output","Package":"m/p","Output":"vmtest: kernel 7.2.0 x86_64\n"}`,
		`{"Action":"output","Package":"m/p","Test":"TestA","Output":"    a_test.go:1: wrong\n"}`,
		`{"Action":"fail","Package":"m/p","Test":"TestA"}`,
		`{"Action":"fail","Package":"m/p"}`)
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"good", []string{"amd64/5.10=" + old}, 0, `test     amd64/5.10
p.TestA  pass
p.TestB  skip

amd64/5.10: 5.10.0 x86_64
  skip p.TestB
        b_test.go:1: needs more
`},
		{"a failure and a test that did not run", []string{"old=" + old, "new=" + bad}, 1, `test     old   new
p.TestA  pass  FAIL
p.TestB  skip  NOT RUN
p        ok    FAIL

old: 5.10.0 x86_64
  skip p.TestB
        b_test.go:1: needs more

new: 7.2.0 x86_64
  FAIL p.TestA
        a_test.go:1: wrong
  FAIL p
    vmtest: kernel 7.2.0 x86_64
`},
		{"a kernel without results", []string{"none=" + filepath.Join(dir, "none")}, 1, `test  none

none: no results
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			status, err := tableMain(tt.args, &out)
			if err != nil || status != tt.status {
				t.Errorf("status %d, error %v; want %d", status, err, tt.status)
			}
			if out.String() != tt.want {
				t.Errorf("table:\n%s\nwant:\n%s", out.String(), tt.want)
			}
		})
	}
}
