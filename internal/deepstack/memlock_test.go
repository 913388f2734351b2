package deepstack

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
)

// Where the limit can't be raised, it seems to be within the filter and nowhere
// else, and stays what it is.
func TestMemlock(t *testing.T) {
	needs.Root(t)
	raise := func() error {
		all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		return unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &all, nil)
	}
	limit := func() (l unix.Rlimit) {
		if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	m := newMemlock()
	if !m.needed {
		t.Skip("needs to be without CAP_SYS_RESOURCE")
	}
	before := limit()
	if err := m.during(raise); err != nil {
		t.Errorf("within: %v", err)
	}
	var others sync.WaitGroup
	for range 20 {
		others.Go(func() {
			if raise() == nil {
				t.Error("another goroutine has the filter")
			}
		})
	}
	others.Wait()
	if after := limit(); after != before {
		t.Errorf("the limit was %+v and is %+v", before, after)
	}
}
