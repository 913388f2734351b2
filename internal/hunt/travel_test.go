package hunt

import (
	"fmt"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/lifecycle"
	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// TestTravel: no event tells of a descriptor that came by SCM_RIGHTS or
// pidfd_getfd. A snapshot finds it, and the socket is still known to be the one
// its creator made.
func TestTravel(t *testing.T) {
	needs.Root(t)
	program := workload.Build(t, "fdops")
	for _, test := range []struct {
		name string
		// before prepares to pass a socket on that is descriptor 3 of the first
		// process; receive makes it descriptor 6 of its child, $CHILD.
		before, receive string
		want            lifecycle.Repair
	}{
		{"SCM_RIGHTS", `
			socketpair -> ok 4 5
			fork -> ok 0 =CHILD
			child 0 dup2 4 3 -> ok 3
			scm_send 4 3 -> ok 1`, "child 0 scm_recv 5 -> ok 6", lifecycle.Repair{Added: 1}},
		{"SCM_RIGHTS, closed in flight", `
			socketpair -> ok 4 5
			fork -> ok 0 =CHILD
			child 0 dup2 4 3 -> ok 3
			scm_send 4 3 -> ok 1
			close 3 -> ok 0`, "child 0 scm_recv 5 cloexec -> ok 6", lifecycle.Repair{Added: 1}},
		{"pidfd_getfd", `
			fork -> ok 0 =CHILD
			child 0 close 3 -> ok 0
			child 0 socketpair -> ok 3 4`, "child 0 pidfd_getfd $SELF 3 -> ok 6", lifecycle.Repair{Added: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			together(t)
			p := start(t, program)
			p.Ready()
			k := follow(t, p.PID, 1<<20, true)
			names := map[string]string{"SELF": fmt.Sprint(p.PID)}
			k.steps(p, "socket tcp -> ok 3", names)
			inode, made := k.origin(p.PID, 3)
			if made.Stack == 0 || made.Creator.PID != uint32(p.PID) || made.Kind != lifecycle.BySocket {
				t.Fatalf("its creation is known as %+v", made)
			}
			k.steps(p, test.before, names)
			obey(t, p, test.receive, names)
			if repair := k.snapshot(); repair != test.want {
				t.Errorf("a snapshot repaired %+v, want %+v", repair, test.want)
			}
			k.exact("a snapshot")
			got, now := k.origin(number(t, names["CHILD"]), 6)
			if got != inode || now != made {
				t.Errorf("the child has socket %d, %+v; want %d, %+v", got, now, inode, made)
			}
			k.lossless()
		})
	}
}

// origin is what is known of the birth of a socket.
type origin struct {
	Birth, Stack uint64
	Creator      event.ProcessKey
	Kind         lifecycle.Creation
	Arrival      lifecycle.Arrival
}

// origin returns the socket that a descriptor refers to, and its origin.
func (k *traced) origin(pid, fd int) (uint64, origin) {
	k.t.Helper()
	for s, holders := range k.engine.table.Sockets() {
		for _, h := range holders {
			if int(h.Process.PID) == pid && int(h.FD) == fd {
				return s.Inode, origin{s.Birth, s.Stack, s.Creator, s.Kind, s.Arrival}
			}
		}
	}
	k.t.Fatalf("the table has no descriptor %d of process %d", fd, pid)
	return 0, origin{}
}
