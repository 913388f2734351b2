package report

import (
	"strings"
	"testing"

	"sockleak/internal/verdict"
)

func TestNumbersStayWithTheirUnits(t *testing.T) {
	if got, want := duration(200), "3"+nbsp+"min"+nbsp+"20"+nbsp+"s"; got != want {
		t.Errorf("duration: %q, want %q", got, want)
	}
	if got, want := counted(2, "other process", "other processes"), "2"+nbsp+"other processes"; got != want {
		t.Errorf("counted: %q, want %q", got, want)
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

func TestProcessName(t *testing.T) {
	for want, p := range map[string]verdict.Process{
		"web (pid 7)":                                  {PID: 7, Comm: "web"},
		"web (pid 7, 1 in its pid namespace)":          {PID: 7, Comm: "web", NSPID: ptr(uint32(1))},
		"web (pid 7, container 5c7d0e9b4f1a)":          {PID: 7, Comm: "web", Container: containerID},
		"web (pid 7, container a-machine-with-a-name)": {PID: 7, Comm: "web", Container: "a-machine-with-a-name"},
	} {
		if got := strings.ReplaceAll(processName(p), nbsp, " "); got != want {
			t.Errorf("processName(%+v) = %q, want %q", p, got, want)
		}
	}
}
