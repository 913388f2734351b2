package probe

import (
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"sockleak/internal/event"
	"sockleak/internal/tracepoint"
	"sockleak/internal/workload"
)

// BenchmarkTarget measures what tracing costs the traced program: the time of a
// connect, an accept and two closes on loopback, alone, with programs that do
// nothing on the same hooks, and traced. The machine's speed drifts, so the
// three take turns and the figures are medians of the ratios within each turn.
func BenchmarkTarget(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("not root: tracing needs CAP_BPF and CAP_PERFMON")
	}
	p := workload.Start(b, workload.Build(b, "bench"))
	p.Ready()
	const connections, turns = 4000, 9
	measure := func(attach func() io.Closer) float64 {
		c := attach()
		ns := p.DoInt(fmt.Sprintf("round %d", connections))
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		return float64(ns)
	}
	measure(nothing)
	for name, stacks := range map[string]bool{"stacks": true, "no-stacks": false} {
		b.Run(name, func(b *testing.B) {
			var alone, toNothing, toEmpty []float64
			for range turns {
				none := measure(nothing)
				empty := measure(func() io.Closer { return emptyPrograms(b) })
				traced := measure(func() io.Closer { return traced(b, uint32(p.PID), stacks) })
				alone = append(alone, none)
				toNothing = append(toNothing, traced/none)
				toEmpty = append(toEmpty, traced/empty)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(alone), "ns/connection-alone")
			b.ReportMetric(median(toNothing), "x-untraced")
			b.ReportMetric(median(toEmpty), "x-empty-programs")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

type closers []io.Closer

func (c closers) Close() error {
	for _, one := range c {
		if err := one.Close(); err != nil {
			return err
		}
	}
	return nil
}

func nothing() io.Closer { return closers{} }

// traced attaches sockleak's own programs, and reads the ring as the agent does.
func traced(b *testing.B, pid uint32, stacks bool) io.Closer {
	p, err := Open(Config{Scope: Scope{PIDs: []uint32{pid}}, RingSize: 8 << 20, MaxSockets: 131072, Stacks: stacks})
	if err != nil {
		b.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := p.Read(time.Now().Add(50*time.Millisecond), 100_000, func([]byte) {}); err != nil {
				done <- err
				return
			}
		}
	}()
	return closeFunc(func() error {
		close(stop)
		if err := <-done; err != nil {
			return err
		}
		loss, err := p.Loss()
		if err == nil && loss != (event.Loss{}) {
			err = fmt.Errorf("lost %+v", loss)
		}
		if cerr := p.Close(); err == nil {
			err = cerr
		}
		return err
	})
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

// emptyPrograms attaches programs that return at once to every hook of ours.
func emptyPrograms(b *testing.B) io.Closer {
	b.Helper()
	ids, err := tracepoint.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer ids.Close()
	var all closers
	load := func(spec *ebpf.ProgramSpec) *ebpf.Program {
		spec.License = "GPL"
		spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
		prog, err := ebpf.NewProgram(spec)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, prog)
		return prog
	}
	call := load(&ebpf.ProgramSpec{Type: ebpf.TracePoint})
	for _, h := range hooks() {
		id, err := ids.ID("syscalls", h.name)
		if err != nil {
			b.Fatal(err)
		}
		l, err := tracepoint.Attach(id, call)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, l)
	}
	for _, name := range []string{"sched_process_exit", "sched_process_exec", "sched_process_fork", "tcp_destroy_sock", "inet_sock_set_state"} {
		l, err := link.AttachTracing(link.TracingOptions{Program: load(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: name,
		})})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// BenchmarkSnapshot reads 100,000 sockets out of the kernel's tables.
func BenchmarkSnapshot(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("not root: tracing needs CAP_BPF and CAP_PERFMON")
	}
	const sockets = 100_000
	p := workload.Start(b, workload.Build(b, "bench"))
	p.Ready()
	p.Do(fmt.Sprintf("sockets %d", sockets))
	s, err := OpenSnapshotter()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	hz, err := HZ()
	if err != nil {
		b.Fatal(err)
	}
	var row event.Row
	for b.Loop() {
		n := 0
		if _, _, err := s.Snapshot(func(r []byte) {
			if err := DecodeRow(r, hz, &row); err != nil {
				b.Fatal(err)
			}
			n++
		}); err != nil {
			b.Fatal(err)
		}
		if n < sockets {
			b.Fatalf("%d rows of %d sockets", n, sockets)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/100k-sockets")
}
