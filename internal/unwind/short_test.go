package unwind

import (
	"os/exec"
	"strconv"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
)

// Programs that live for a millisecond, started while their shell is traced: all
// their stacks are whole, although they are gone when the first is walked.
func TestShortLived(t *testing.T) {
	needs.Root(t)
	for _, test := range []struct {
		name  string
		flags []string
	}{
		{"dynamic", []string{"-g"}},
		{"static", []string{"-g", "-static"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			exe := t.TempDir() + "/odd"
			build(t, "gcc", append(test.flags, "-O2", "-fomit-frame-pointer", "-pthread", "-o", exe, source(t, "odd.c"))...)
			const programs = 40
			shell := exec.Command("/bin/sh", "-c", `read go; for i in $(seq "$1"); do "$0" once; done; sleep 60`, exe, strconv.Itoa(programs))
			in, err := shell.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := shell.Start(); err != nil {
				t.Fatal(err)
			}
			defer end(shell)
			tr := follow(t, probe.Scope{PIDs: []uint32{uint32(shell.Process.Pid)}, Children: true})
			if _, err := in.Write([]byte("go\n")); err != nil {
				t.Fatal(err)
			}
			want := culprit{"make_socket", "odd.c", markedLine(t, "odd.c", "SOCKET")}
			good, all := 0, 0
			reasons := map[string]int{}
			for limit := time.Now().Add(20 * time.Second); all < programs && time.Now().Before(limit); {
				tr.read(time.Now().Add(50*time.Millisecond), func(s socket) {
					all++
					o := tr.stacks.Resolve(s.stack)
					reasons[o.Reason]++
					if o.Quality == stack.Complete && found(o.Frames, exe) == want {
						good++
					}
				})
			}
			if good != programs || all != programs {
				t.Errorf("%d of %d stacks are whole and lead to %+v, want %d; %v", good, all, want, programs, reasons)
			}
		})
	}
}
