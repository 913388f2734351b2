package deepstack

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/probe"
	"sockleak/internal/stack"
	"sockleak/internal/workload"
)

// What a socket costs in each tier, by the kernel's own account of the time that
// programs take (some 30 ns of each is the accounting). All are attached at once,
// so they have the same noise, and the ratios are good where the figures are not.
// Cold is a stack
// that was not seen before; the figure in the name is the frames.
func BenchmarkCost(b *testing.B) {
	needs.Root(b)
	p := workload.Start(b, workload.Build(b, "rates"))
	p.Ready()
	pid := uint32(p.PID)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Skipf("the kernel keeps no account: %v", err)
	}
	defer stats.Close()
	c := costs{b: b, of: map[string]ebpf.ProgramID{}}
	for _, t := range []struct {
		name string
		cfg  probe.Config
	}{
		{"no-stack", probe.Config{}},
		{"spared", probe.Config{Stacks: true, StackRate: 1}},
		{"frame-pointers", probe.Config{Stacks: true}},
	} {
		t.cfg.Scope.PIDs, t.cfg.RingSize, t.cfg.MaxSockets = []uint32{pid}, 8<<20, 1024
		before := c.programs("exit_socket")
		pr, err := probe.Open(t.cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer pr.Close()
		c.since(t.name, "exit_socket", before)
	}
	before := c.programs("deep_socket")
	tier := open(b, Options{PIDs: []uint32{pid}})
	c.since("deep", "deep_socket", before)
	learnt := false
	for end := time.Now().Add(20 * time.Second); !learnt && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		p.Do("hot 1")
		if err := tier.Poll(func(birth Birth) { learnt = tier.Resolve(birth.Stack).Quality == stack.Complete }); err != nil {
			b.Fatal(err)
		}
	}
	if !learnt {
		b.Fatal("no complete stack in 20 s")
	}
	b.ReportMetric(0, "ns/op")
	for _, round := range []struct{ name, command string }{
		{"cold-35", "deep 60"}, {"hot-35", "deep 60"}, {"hot-6", "hot 5000"},
	} {
		// No benchmarks of their own: they would run more than once.
		was := c.read()
		p.Do(round.command)
		time.Sleep(10 * turn)
		for name, now := range c.read() {
			ns := float64(now.Runtime-was[name].Runtime) / float64(now.RunCount-was[name].RunCount)
			b.ReportMetric(ns, round.name+"/"+name+"-ns")
		}
		if err := tier.Poll(func(Birth) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// costs reads what programs have cost, by a name for each.
type costs struct {
	b  *testing.B
	of map[string]ebpf.ProgramID
}

// programs are those of a name that there are in the kernel.
func (c costs) programs(name string) []ebpf.ProgramID {
	var found []ebpf.ProgramID
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		if info, err := p.Info(); err == nil && info.Name == name {
			found = append(found, id)
		}
		if err := p.Close(); err != nil {
			c.b.Fatal(err)
		}
	}
	return found
}

// since names the program that was not there before.
func (c costs) since(as, name string, before []ebpf.ProgramID) {
	for _, id := range c.programs(name) {
		if !slices.Contains(before, id) {
			c.of[as] = id
			return
		}
	}
	c.b.Fatalf("no new program %s", name)
}

func (c costs) read() map[string]*ebpf.ProgramStats {
	all := map[string]*ebpf.ProgramStats{}
	for name, id := range c.of {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			c.b.Fatal(err)
		}
		if all[name], err = p.Stats(); err != nil {
			c.b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			c.b.Fatal(err)
		}
	}
	return all
}
