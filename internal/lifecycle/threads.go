package lifecycle

import (
	"math"

	"sockleak/internal/event"
)

// maxThreads is how many names of threads are kept: what a number in a Socket
// tells apart.
const maxThreads = math.MaxUint16

// threads numbers the names of threads that made sockets, from 1. A name stays: its
// sockets may be remembered after the thread.
type threads struct {
	numbers map[[16]byte]uint16
	names   []string
}

// number returns that of a name, zero if there is none or no place for it.
func (t *threads) number(name *[16]byte) uint16 {
	if name[0] == 0 {
		return 0
	}
	n, known := t.numbers[*name]
	if !known && len(t.names) < maxThreads {
		t.names = append(t.names, event.Comm(name))
		n = uint16(len(t.names))
		t.numbers[*name] = n
	}
	return n
}

// ThreadName returns the name of a thread that Socket.Thread is the number of;
// empty if it is zero.
func (t *Table) ThreadName(number uint16) string {
	if number == 0 {
		return ""
	}
	return t.threads.names[number-1]
}
