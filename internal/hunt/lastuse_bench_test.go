package hunt_test

import (
	"slices"
	"testing"

	"sockleak/internal/hunt"
	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// BenchmarkLastUse measures what --last-use adds to a write and a read of one byte, of
// a process that is traced and of one that isn't, and to a read that says that there is
// no more: with the default budget of stacks, and with the stack of each, by unwind
// tables and complete. The variants take turns; the figures are medians of the
// differences within each turn, in ns, to the same process traced without it.
func BenchmarkLastUse(b *testing.B) {
	needs.Root(b)
	p := workload.Start(b, workload.Build(b, "bench"))
	p.Ready()
	bystander := workload.Start(b, workload.Build(b, "bench"))
	bystander.Ready()
	variants := []struct {
		name    string
		lastUse bool
		stacks  hunt.Stacks
		rate    uint32
		of      *workload.Proc
	}{
		{"traced", false, hunt.StacksSnapshot, hunt.DefaultStackRate, p},
		{"last-use", true, hunt.StacksSnapshot, hunt.DefaultStackRate, p},
		{"every-stack", true, hunt.StacksSnapshot, 0, p},
		{"every-stack-complete", true, hunt.StacksDeep, 0, p},
		{"bystander", false, hunt.StacksSnapshot, hunt.DefaultStackRate, bystander},
		{"bystander-last-use", true, hunt.StacksSnapshot, hunt.DefaultStackRate, bystander},
	}
	const turns = 5
	talk, ends := map[string][]float64{}, map[string][]float64{}
	for range turns {
		for _, v := range variants {
			cfg := lastUseConfig(p.PID, v.stacks)
			cfg.Probe.LastUse, cfg.Probe.StackRate = v.lastUse, v.rate
			traceWhile(b, cfg, quiet{}, func() {
				v.of.DoInt("ends 100") // stacks that are new
				ends[v.name] = append(ends[v.name], float64(v.of.DoInt("ends 20000")))
				talk[v.name] = append(talk[v.name], float64(v.of.DoInt("talk 200000")))
			})
		}
	}
	middle := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	more := func(of map[string][]float64, with, without string) float64 {
		differences := make([]float64, turns)
		for i := range differences {
			differences[i] = of[with][i] - of[without][i]
		}
		return middle(differences)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(more(talk, "last-use", "traced"), "ns/talk")
	b.ReportMetric(more(talk, "bystander-last-use", "bystander"), "ns/talk-of-others")
	b.ReportMetric(more(ends, "last-use", "traced"), "ns/end")
	b.ReportMetric(more(ends, "every-stack", "traced"), "ns/end-every-stack")
	b.ReportMetric(more(ends, "every-stack-complete", "traced"), "ns/end-every-stack-complete")
	b.ReportMetric(middle(talk["traced"]), "ns/talk-without")
	b.ReportMetric(middle(ends["traced"]), "ns/end-without")
}
