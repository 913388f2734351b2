package asked

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"

	"sockleak/internal/needs"
)

// walksOf returns the map with who holds the profiler's record of each CPU.
func (k *traced) walksOf(t *testing.T) *ebpf.Map {
	t.Helper()
	info, err := k.own.Stop.Info()
	if err != nil {
		t.Fatal(err)
	}
	ids, known := info.MapIDs()
	if !known {
		t.Skip("this kernel doesn't say which maps a program has")
	}
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			t.Fatal(err)
		}
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Name == "walks" {
			return m
		}
		_ = m.Close() // only looked at
	}
	t.Fatal("there is no map with the walks")
	return nil
}

// TestHolderGone: the last walk of a thread that has ended holds the profiler's
// record of its CPU, and nothing tells any more that it is over but the time. The
// next one there has the record all the same.
func TestHolderGone(t *testing.T) {
	needs.Root(t)
	p := handles(t, 500)
	k := trace(t, Budget{}, p)
	walks := k.walksOf(t)
	defer walks.Close()
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	held := make([][]byte, cpus)
	for cpu := range held {
		held[cpu] = make([]byte, walks.ValueSize())
		// A thread that is not there, since the machine began.
		binary.NativeEndian.PutUint64(held[cpu], 1<<32|1<<30)
	}
	if err := walks.Put(uint32(0), held); err != nil {
		t.Fatal(err)
	}
	k.log(t, p)
	loss := k.loss(t)
	if loss.Handles == 0 || loss.Busy > 0 {
		t.Errorf("%d of %d handles found the record held, and nobody walks", loss.Busy, loss.Handles)
	}
}
