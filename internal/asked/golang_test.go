package asked

import (
	"os"
	"runtime"
	"testing"
)

func TestMinorVersion(t *testing.T) {
	for version, want := range map[string]int{
		"go1.22.3": 22, "go1.26": 26, "go1.21rc2": 21, "go1.24.1 X:nocoverageredesign": 24,
		"devel go1.27-abc Thu": -1, "go2.1": -1, "": -1, "go1.": -1,
	} {
		got, ok := minorVersion(version)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", version, got, want)
		}
	}
}

// TestLayoutOfThis: the version that this test was built by is known.
func TestLayoutOfThis(t *testing.T) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := goLayout(f)
	if l == nil || err != nil {
		t.Fatalf("the layout of %s is not known: %v", runtime.Version(), err)
	}
	minor, _ := minorVersion(runtime.Version())
	if want := layouts()[minor]; *l != want {
		t.Errorf("got %+v, want %+v", *l, want)
	}
}
