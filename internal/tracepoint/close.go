package tracepoint

import (
	"errors"
	"io"
	"sync"
)

// maxClosing bounds what is closed at one time: each has a thread of ours wait.
const maxClosing = 64

// CloseAll closes links, of whatever kind, together: the kernel waits at each for
// an RCU grace period or more, some 50 ms, and so they wait at the same time. The
// error joins those of all.
func CloseAll[C io.Closer](links []C) error {
	errs := make([]error, len(links))
	free := make(chan struct{}, maxClosing)
	var all sync.WaitGroup
	for i, l := range links {
		free <- struct{}{}
		all.Go(func() {
			errs[i] = l.Close()
			<-free
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
