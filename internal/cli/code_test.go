package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// linkedAs returns what the loader itself says that a program begins with.
func linkedAs(t *testing.T, path string) (files []string) {
	t.Helper()
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", path, err)
	}
	for _, found := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		files = append(files, resolved(t, found[1]))
	}
	return append(files, resolved(t, path))
}

func resolved(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Of Java the virtual machine is read too, which its launcher loads by itself.
func TestCodeOfJava(t *testing.T) {
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skipf("needs java: %v (run scripts/setup.sh)", err)
	}
	java = resolved(t, java)
	want := append(linkedAs(t, java), resolved(t, filepath.Join(filepath.Dir(java), "../lib/server/libjvm.so")))
	got := codeOf(java)
	for _, file := range want {
		if !slices.Contains(got, file) {
			t.Errorf("%q lacks %s", got, file)
		}
	}
}

// What a command begins with is what the loader says of it, through scripts too.
func TestCodeOf(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "linked-sh")
	if err := os.Symlink("/bin/sh", link); err != nil {
		t.Fatal(err)
	}
	sh := linkedAs(t, "/bin/sh")
	if len(sh) < 3 {
		t.Fatalf("ldd /bin/sh: %q", sh) // the loader, libc and itself
	}
	one := script("one", "#!/bin/sh\n")
	for name, test := range map[string]struct {
		path string
		want []string
	}{
		"a program":                    {"/bin/sh", sh},
		"a link to one":                {link, sh},
		"a script":                     {one, sh},
		"a script with an option":      {script("option", "#! /bin/sh -e\nexit\n"), sh},
		"a script of a script":         {script("two", "#!"+one), sh},
		"what env finds":               {script("env", "#!/usr/bin/env linked-sh\n"), sh},
		"what env finds, with more":    {script("more", "#!/usr/bin/env -S A=b linked-sh -e\n"), sh},
		"what env doesn't find":        {script("not", "#!/usr/bin/env no-such-program\n"), linkedAs(t, "/usr/bin/env")},
		"env alone":                    {script("alone", "#!/usr/bin/env\n"), linkedAs(t, "/usr/bin/env")},
		"a script of itself":           {script("loop", "#!"+filepath.Join(dir, "loop")), nil},
		"an interpreter that is gone":  {script("gone", "#!/no/such/file\n"), nil},
		"nothing":                      {filepath.Join(dir, "nothing"), nil},
		"no interpreter":               {script("none", "#!\n"), []string{filepath.Join(dir, "none")}},
		"no program":                   {script("text", "text"), []string{filepath.Join(dir, "text")}},
		"a damaged program":            {script("elf", "\x7fELF\x02\x01\x01"+strings.Repeat("\xff", 57)), []string{filepath.Join(dir, "elf")}},
		"a pipe that nobody writes to": {fifo, []string{fifo}},
	} {
		got, want := codeOf(test.path), slices.Clone(test.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s begins with %q, want %q", name, got, want)
		}
	}
	if codeOf(filepath.Join(dir, "nothing")) == nil {
		t.Error("what isn't known is nil, which is for processes that run")
	}
}
