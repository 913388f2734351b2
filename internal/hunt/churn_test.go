package hunt

import (
	"fmt"
	"testing"

	"sockleak/internal/lifecycle"
	"sockleak/internal/workload"
)

func TestChurn(t *testing.T) {
	program := workload.Build(t, "fdchurn")
	for _, test := range []struct {
		processes, threads int
	}{
		{4, 1}, {4, 4}, {1, 8},
	} {
		t.Run(fmt.Sprintf("%d processes of %d threads", test.processes, test.threads), func(t *testing.T) {
			for seed := range 3 {
				p := start(t, "/bin/sh", "-c", fmt.Sprintf("echo ready; read go && exec %s %d 100000 %d %d", program, seed, test.processes, test.threads))
				p.Ready()
				k := follow(t, p.PID, 64<<20, false)
				k.keep = true
				if got := p.Send("go"); got != "done" {
					t.Fatal(got)
				}
				k.drain()
				dbgMiss(t, k)
				d := difference(k.table(), k.kernel())
				for i, l := range d {
					if i < 10 {
						t.Log(l)
					}
				}
				dbgDump(t, k, fmt.Sprintf("/tmp/paths/dump-%d-%d-%d", test.processes, test.threads, seed))
				got := k.snapshot()
				t.Logf("repair %+v, %d differ, %+v", got, len(d), k.engine.table.Totals())
				_ = lifecycle.Repair{}
				if d := difference(k.table(), k.kernel()); d != nil {
					t.Errorf("after snapshot %v", d)
				}
				p.Stop()
			}
		})
	}
}
