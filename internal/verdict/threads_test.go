package verdict

import (
	"fmt"
	"reflect"
	"testing"
)

// TestThreads: a finding names the threads that made its sockets, and those of no
// others; where they are called as the process is there is nothing to tell.
func TestThreads(t *testing.T) {
	// leak makes a socket by a thread of each name that the peer closes.
	leak := func(w *world, names ...string) {
		for _, n := range names {
			w.thread = n
			w.fin(w.connect(w.socket(7), server), 0)
		}
	}
	tests := map[string]struct {
		do   func(*world)
		want []Thread
	}{
		"called as the process": {func(w *world) { leak(w, "app", "app") }, []Thread{}},
		"not known":             {func(w *world) { leak(w, "") }, []Thread{}},
		"of its own name":       {func(w *world) { leak(w, "worker", "worker") }, []Thread{{"worker", 2}}},
		"the most frequent first, then by name": {func(w *world) { leak(w, "pool-2", "app", "pool-1", "app") },
			[]Thread{{"app", 2}, {"pool-1", 1}, {"pool-2", 1}}},
		"those that closed theirs do not count": {func(w *world) {
			w.thread = "tidy"
			w.close(w.connect(w.socket(7), server))
			leak(w, "worker")
		}, []Thread{{"worker", 1}}},
		"known of some": {func(w *world) { leak(w, "worker", "") }, []Thread{{"worker", 1}}},
		"cut by the kernel": {func(w *world) { leak(w, "0123456789abcdefg") },
			[]Thread{{"0123456789abcde", 1}}},
		"sixteen": {func(w *world) {
			for i := range 16 {
				leak(w, fmt.Sprintf("pool-%02d", i))
			}
		}, sixteen()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.look()
			test.do(w)
			w.watch(12 * second)
			found := w.findings()
			if len(found) != 1 {
				t.Fatalf("%d findings, want 1", len(found))
			}
			if got := found[0].Threads; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func sixteen() (list []Thread) {
	for i := range 16 {
		list = append(list, Thread{fmt.Sprintf("pool-%02d", i), 1})
	}
	return list
}

// Sockets from before tracing, whose threads are not known, are of one finding with
// those of the origin that they are taken to be of.
func TestThreadsInferred(t *testing.T) {
	w := newWorld(t)
	w.beforeAt(8, server) // CLOSE-WAIT
	w.look()
	w.thread = "worker"
	w.fin(w.connect(w.socket(7), server), 0)
	w.watch(12 * second)
	f := w.findings()[0]
	if want := []Thread{{"worker", 1}}; f.Count != 2 || !reflect.DeepEqual(f.Threads, want) {
		t.Errorf("%d sockets of %v, want 2 of %v", f.Count, f.Threads, want)
	}
}
