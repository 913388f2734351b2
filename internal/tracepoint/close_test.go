package tracepoint

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// meeting is a link whose close waits for that of all the others.
type meeting struct {
	all *sync.WaitGroup
	err error
}

func (m meeting) Close() error {
	m.all.Done()
	m.all.Wait()
	return m.err
}

func TestCloseAll(t *testing.T) {
	const links = maxClosing
	var all sync.WaitGroup
	all.Add(links)
	failed := errors.New("failed")
	var closed []meeting
	for i := range links {
		m := meeting{all: &all}
		if i%2 == 0 {
			m.err = fmt.Errorf("link %d: %w", i, failed)
		}
		closed = append(closed, m)
	}
	done := make(chan error, 1)
	go func() { done <- CloseAll(closed) }()
	select {
	case err := <-done:
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != links/2 || !errors.Is(err, failed) {
			t.Errorf("got %v, want the errors of %d links", err, links/2)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("they are closed one after another")
	}
	if err := CloseAll[meeting](nil); err != nil {
		t.Errorf("of no links: %v", err)
	}
}
