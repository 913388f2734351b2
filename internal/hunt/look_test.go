package hunt

import (
	"runtime"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/probe"
)

// Looking is followed by a pause that is a multiple of the CPU time it took, not of
// how long it had to wait for a CPU, or for whoever reads the report.
func TestJudgingCountsCPUTime(t *testing.T) {
	needs.Root(t)
	p, err := probe.Open(probe.Config{Scope: probe.Scope{PIDs: []uint32{1}}, RingSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const long = 100 * time.Millisecond
	tests := map[string]struct {
		f           func() error
		least, most time.Duration
	}{
		"waits": {func() error { time.Sleep(long); return nil }, 0, long / 4},
		"works": {func() error {
			for began := cpuTime(); cpuTime()-began < long; {
			}
			return nil
		}, long, 2 * long},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			l := &live{probe: p}
			if err := l.judging(test.f); err != nil {
				t.Fatal(err)
			}
			if l.judged < test.least || l.judged > test.most {
				t.Errorf("took %s of the CPU, want %s to %s", l.judged, test.least, test.most)
			}
		})
	}
}
