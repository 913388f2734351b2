package symbol

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func str(b []byte) string { return string(b) }

func TestParseMaps(t *testing.T) {
	const text = `00400000-00401000 r--p 00000000 fe:01 42                                 /usr/bin/app
00401000-00500000 r-xp 00001000 fe:01 42                                 /usr/bin/app
7f0000000000-7f0000010000 rwxp 00000000 00:00 0 
7f1000000000-7f1000001000 r-xs 00002000 00:2a 18446744073709551615       /tmp/a b\012c (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
7ffd00022000-7ffd00024000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`
	want := []mapping{
		{0x401000, 0x500000, 0x1000, 0xfe<<32 | 1, 42, "/usr/bin/app"},
		{0x7f0000000000, 0x7f0000010000, 0, 0, 0, ""},
		{0x7f1000000000, 0x7f1000001000, 0x2000, 0x2a, math.MaxUint64, `/tmp/a b\012c (deleted)`},
		{0x7ffd00022000, 0x7ffd00024000, 0, 0, 0, "[vdso]"},
	}
	for _, text := range []string{text, strings.TrimSuffix(text, "\n")} {
		got, err := parseMaps(nil, []byte(text), str)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

func TestParseMapsErrors(t *testing.T) {
	const good = "1000-2000 r-xp 00000000 00:00 0 \n"
	for text, want := range map[string]string{
		"\n":                                             "line 1: malformed line",
		good + "x":                                       "line 2: malformed line",
		"2000-1000 r-xp 00000000 00:00 0 \n":             "line 1: malformed line",
		"1000-2000 r-xp 00000000 00:00\n":                "line 1: malformed line",
		"1000-2000 r-xp -1 00:00 0 \n":                   "line 1: malformed line",
		"10000000000000000-2 r-xp 0 0:0 0 \n":            "line 1: malformed line",
		"1000-2000 r-xp 0 0:0 18446744073709551616 /x\n": "line 1: malformed line",
		good + good:                                      "line 2: mappings out of order",
	} {
		if _, err := parseMaps(nil, []byte(text), str); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add("00401000-00500000 r-xp 00001000 fe:01 42    /usr/bin/app\n7f0000000000-7f0000010000 rwxp 00000000 00:00 0 \n")
	f.Fuzz(func(t *testing.T, text string) {
		maps, err := parseMaps(nil, []byte(text), str)
		for i, m := range maps {
			if m.start >= m.end || i > 0 && m.start < maps[i-1].end {
				t.Errorf("mapping %d of %q: %+v", i, text, m)
			}
		}
		if err == nil && strings.Count(text, "\n")+1 < len(maps) {
			t.Errorf("%d mappings in %q", len(maps), text)
		}
	})
}

func BenchmarkParseMaps(b *testing.B) {
	line := "7f0000000000-7f0000010000 r--p 00001000 fe:01 42    /usr/lib/x86_64-linux-gnu/libc.so.6\n"
	text := []byte(strings.Repeat(line, 200))
	var dst []mapping
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = parseMaps(dst[:0], text, str); err != nil {
			b.Fatal(err)
		}
	}
}

func TestStartTime(t *testing.T) {
	stat := "7 (a) R 1 (x) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2600960 226 18446744073709551615"
	if got, err := startTime([]byte(stat)); got != 4711 || err != nil {
		t.Errorf("got %d, %v, want 4711", got, err)
	}
	for _, bad := range []string{"", "7 (a) R 1", ")"} {
		if _, err := startTime([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestInnermostPID(t *testing.T) {
	for status, want := range map[string]string{
		"Name:\tx\nNSpid:\t4242\t17\t3\nNSpgid:\t1\n": "3",
		"Name:\tx\nNSpid:\t4242\n":                    "4242",
		"Name:\tx\nPid:\t4242\n":                      "9",
		"Name:\tx\nNSpid:\n":                          "9",
	} {
		if got := innermostPID([]byte(status), "9"); got != want {
			t.Errorf("%q: got %s, want %s", status, got, want)
		}
	}
}
