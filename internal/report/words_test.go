package report

import (
	"strings"
	"testing"
)

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0 s", 0.04: "0 s", 0.4: "0.4 s", 9.94: "9.9 s", 9.96: "10 s", 12.3: "12 s", 59.6: "1 min", 60: "1 min",
		200: "3 min 20 s", 3599: "59 min 59 s", 3599.7: "1 h", 3625: "1 h", 3635: "1 h 1 min", 6300: "1 h 45 min",
		86399: "1 d", 90000: "1 d 1 h", 86400 * 1200: "1,200 d",
	} {
		if got := strings.ReplaceAll(duration(seconds), nbsp, " "); got != want {
			t.Errorf("duration(%v) = %q, want %q", seconds, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	for perMin, want := range map[float64]string{
		31.2: "+31/min", 0.4: "+0.4/min", 2: "+2/min", 0.01: "not growing", -0.01: "not growing", 0: "not growing", -3: "-3/min", 12345: "+12,345/min",
	} {
		if got := rate(perMin); got != want {
			t.Errorf("rate(%v) = %q, want %q", perMin, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", -100: "-100", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestRanges(t *testing.T) {
	tests := []struct {
		fds  []int32
		max  int
		want string
		left int
	}{
		{nil, 0, "", 0},
		{[]int32{3}, 0, "3", 0},
		{[]int32{3, 4}, 0, "3-4", 0},
		{[]int32{7, 8, 9, 10, 11, 12, 13, 14, 20}, 0, "7-14,20", 0},
		{[]int32{1, 3, 5, 6, 7}, 2, "1,3", 3},
		{[]int32{1, 3}, 2, "1,3", 0},
	}
	for _, tt := range tests {
		if got, left := ranges(tt.fds, tt.max); got != tt.want || left != tt.left {
			t.Errorf("ranges(%v, %d) = %q, %d, want %q, %d", tt.fds, tt.max, got, left, tt.want, tt.left)
		}
	}
}

func TestShortFunction(t *testing.T) {
	tests := []struct {
		name string
		max  int
		want string
	}{
		{"main", 0, "main"},
		{"Connector::start(Endpoint const&)", 40, "Connector::start(Endpoint const&)"},
		{"Connector::start(Endpoint const&)", 30, "Connector::start(…)"},
		{"f(int (*)(char)) const", 12, "f(…) const"},
		{"(anonymous namespace)::open_all(int, int)", 36, "(anonymous namespace)::open_all(…)"},
		{"std::map<int, std::vector<int> >::at(int const&)", 30, "std::map<…>::at(…)"},
		{"std::ostream& operator<< <char>(std::ostream&)", 40, "std::ostream& operator<< <char>(…)"},
		{"bool Very::Long::operator<(Other const&) const", 40, "bool Very::Long::operator<(…) const"},
		{"Call::operator()(std::string const&)", 25, "Call::operator()(…)"},
		{"auto f<int>(int) -> std::vector<int>", 30, "auto f<…>(…) -> std::vector<…>"},
		{"<alloc::vec::Vec<T> as core::iter::Extend<T>>::extend", 20, "<…>::extend"},
		{"net/http.(*Transport).dialConn", 28, "…/http.(*Transport).dialConn"},
		{"example.org/pool.(*Pool[example.org/db.Conn]).get", 40, "example.org/pool.(*Pool[…]).get"},
		{"unmatched<int::f(int", 15, "unmatch…::f(int"},
		{"a_function_with_no_brackets_at_all", 11, "a_fun…t_all"},
	}
	for _, tt := range tests {
		got := shortFunction(tt.name, tt.max)
		if got != tt.want {
			t.Errorf("shortFunction(%q, %d) = %q, want %q", tt.name, tt.max, got, tt.want)
		}
		if tt.max > 0 && columns(got) > tt.max {
			t.Errorf("shortFunction(%q, %d) = %q: %d columns", tt.name, tt.max, got, columns(got))
		}
	}
}

func TestShortPath(t *testing.T) {
	const path = "/build/crawler/src/net/connector.cpp:57"
	tests := []struct {
		path string
		max  int
		want string
	}{
		{path, 0, path},
		{path, 39, path},
		{path, 38, "/build/…/src/net/connector.cpp:57"},
		{path, 30, "/build/…/net/connector.cpp:57"},
		{path, 26, "/build/…/connector.cpp:57"},
		{path, 24, "…/net/connector.cpp:57"},
		{path, 18, "…/connector.cpp:57"},
		{path, 17, "connector.cpp:57"},
		{path, 10, "…or.cpp:57"},
		{"src/net/connector.cpp:57", 23, "src/…/connector.cpp:57"},
		{"connector.cpp:57", 10, "…or.cpp:57"},
	}
	for _, tt := range tests {
		if got := shortPath(tt.path, tt.max); got != tt.want {
			t.Errorf("shortPath(%q, %d) = %q, want %q", tt.path, tt.max, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"crawler":           "crawler",
		"\x1b]0;evil\a":     `\x1b]0;evil\a`,
		"two\nlines":        `two\nlines`,
		"\xff\xfe":          `\xff\xfe`,
		"\u202egnp.exe":     `\u202egnp.exe`, // right-to-left override
		"接続":                "接続",
		"e\u0301":           "e\u0301",
		"12" + nbsp + "min": "12" + nbsp + "min",
	} {
		if got := clean(s); got != want {
			t.Errorf("clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "接続": 4, "e\u0301": 1, "…": 1} {
		if got := columns(s); got != want {
			t.Errorf("columns(%q) = %d, want %d", s, got, want)
		}
	}
}
