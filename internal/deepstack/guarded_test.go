package deepstack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/nativeunwind/stackdeltatypes"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/support"

	"sockleak/internal/elfguard"
	"sockleak/internal/needs"
	"sockleak/internal/stack"
)

// promising is a copy of an ELF file whose last sections end far behind its end.
func promising(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	programs, size, count := le.Uint64(b[32:]), uint64(le.Uint16(b[54:])), uint64(le.Uint16(b[56:]))
	for i := range count {
		p := b[programs+i*size:]
		le.PutUint64(p[32:], 1<<40) // p_filesz
		le.PutUint64(p[40:], 1<<40) // p_memsz
	}
	return b
}

// The tables of a damaged file end the reading of it, and nothing else: whatever it
// promises, the profiler gets an error, or what there is.
func TestDamagedTables(t *testing.T) {
	whole := promising(t)
	for _, end := range []int{len(whole), len(whole) / 2, len(whole) / 3, 0x2000, 0x400} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			open := func() (*pfelf.File, error) {
				return pfelf.NewFile(elfguard.NewReader(bytes.NewReader(whole[:end]), elfguard.MaxRead), 0, false)
			}
			ref := pfelf.NewReferenceWithOpenFunc("damaged", pfelf.SystemOpener, open)
			_, _ = newProvider().GetIntervalDataForFile(ref) // an error is as good
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("cut after %d bytes: still reading", end)
		}
	}
}

// Code is where it can be, or what says that it is elsewhere is left out.
func TestFit(t *testing.T) {
	type block = stackdeltatypes.BasicBlock
	const page = 1 << support.StackDeltaPageBits
	info := stackdeltatypes.UnwindInfoFramePointer
	at := func(start, end uint64, offsets ...uint32) *block {
		b := &block{Start: start, End: end}
		for _, o := range offsets {
			b.Deltas = append(b.Deltas, stackdeltatypes.StackDelta{Offset: o, Info: info})
		}
		return b
	}
	first, last := at(page, page+8, 0), at(4*page, 4*page+8, 0)
	signal := func(start uint64) *block {
		b := at(start, start+8, 0)
		b.Deltas[0].Info = stackdeltatypes.UnwindInfoSignal
		return b
	}
	for name, test := range map[string]struct {
		blocks []*block
		keeps  []int // of them; nil: an error
	}{
		"none":                     {[]*block{}, []int{}},
		"one":                      {[]*block{first}, []int{0}},
		"as they should be":        {[]*block{first, at(2*page, 3*page, 0, 7), signal(3 * page), last}, []int{0, 1, 2, 3}},
		"one over the other":       {[]*block{first, at(2*page, 4*page+4, 0), at(2*page, 2*page+8, 0), last}, []int{0, 1, 2, 3}},
		"beyond the last":          {[]*block{first, at(2*page, 5*page, 0), last}, []int{0, 2}},
		"ends before it begins":    {[]*block{first, at(2*page, 2*page-1, 0), last}, []int{0, 2}},
		"empty":                    {[]*block{at(0, 0, 0), first, at(2*page, 2*page, 0), last, at(8*page, 8*page, 0)}, []int{1, 3}},
		"nothing but empty":        {[]*block{at(page, page, 0)}, []int{}},
		"a rule beyond the last":   {[]*block{first, at(2*page, 2*page+8, 3*page), last}, []int{0, 2}},
		"a rule before the first":  {[]*block{signal(page), last}, nil},
		"too far from each other":  {[]*block{first, at(page+maxSpan, page+maxSpan+8, 0)}, nil},
		"all of memory":            {[]*block{at(0, 1<<63, 0)}, nil},
		"the last goes round":      {[]*block{first, at(1<<64-8, 8, 0)}, []int{0}},
		"the first ends elsewhere": {[]*block{at(page, 9*page, 0), last}, nil},
	} {
		data := &stackdeltatypes.IntervalData{Blocks: slices.Clone(test.blocks), NumDeltas: 99}
		err := fit(data)
		if (err != nil) != (test.keeps == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil {
			continue
		}
		var want []*block
		deltas := uint32(0)
		for _, i := range test.keeps {
			want = append(want, test.blocks[i])
			deltas += uint32(len(test.blocks[i].Deltas))
		}
		if !slices.Equal(data.Blocks, want) || data.NumDeltas != deltas {
			t.Errorf("%s: %d blocks, %d rules, want %d and %d", name, len(data.Blocks), data.NumDeltas, len(want), deltas)
		}
	}
}

// The files of a process are read within bounds, and not mapped: what is no *os.File
// the profiler doesn't map.
func TestGuarded(t *testing.T) {
	pid := libpf.PID(os.Getpid())
	pr := guarded{process.New(pid, pid)}
	var f process.ReadAtCloser
	var failed error
	if _, err := pr.IterateMappings(func(m process.RawMapping) bool {
		if f == nil && m.IsExecutable() && !m.IsAnonymous() && !m.IsVDSO() {
			f, failed = pr.OpenMappingFile(&m)
		}
		return true
	}); err != nil || failed != nil || f == nil {
		t.Fatalf("open a mapped file of this process: %v, %v", err, failed)
	}
	defer f.Close()
	if _, mapped := f.(*os.File); mapped {
		t.Error("the profiler would map the file")
	}
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil || string(head) != elf.ELFMAG {
		t.Errorf("read %q, %v", head, err)
	}
	err := elfguard.Do("it", func() error {
		for b := make([]byte, 1<<20); ; {
			if _, err := f.ReadAt(b, 0); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, elfguard.ErrTooMuch) {
		t.Errorf("reading for ever: %v", err)
	}
}

// A program of Go whose tables say that the lines of its functions are far behind their
// end: its stacks can't be named, and nothing else.
func TestDamagedLines(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	exe := dir + "/gosock"
	build(t, "go", "build", "-o", exe, "./testdata/gosock")
	damageLines(t, exe, "main.")
	damaged := started(t, exe)
	defer end(damaged.cmd)
	build(t, "gcc", "-O2", "-g", "-fomit-frame-pointer", "-o", dir+"/native", source(t, "native.c"))
	whole := started(t, dir+"/native")
	defer end(whole.cmd)
	tier := open(t, Options{PIDs: []uint32{damaged.pid, whole.pid}})
	nameless, seen := map[uint64]bool{}, map[uint64]bool{}
	walked := 0
	collect(t, tier, 20*time.Second, func(b Birth) bool {
		switch {
		case b.Stack == 0: // too early
		case b.PID == damaged.pid:
			walked++
			nameless[b.Stack] = true
		default:
			seen[b.Stack] = true
		}
		return walked >= 5 && len(seen) >= 3
	})
	time.Sleep(10 * turn)
	if err := tier.Err(); err != nil || walked < 5 {
		t.Errorf("%d stacks of the damaged one: %v", walked, err)
	}
	lost := 0
	for id := range nameless {
		if !tier.Has(id) {
			lost++
		}
	}
	if lost == 0 {
		t.Error("none of its stacks is lost: what they are named by is not damaged")
	}
	complete := 0
	for id := range seen {
		if tier.Resolve(id).Quality == stack.Complete {
			complete++
		}
	}
	if complete == 0 {
		t.Error("no complete stack of the other program")
	}
}

// damageLines writes into the tables of an executable of Go that the lines of functions
// are where nothing is. src/runtime/symtab.go has the layout (pcHeader, functab, _func), of
// Go 1.20 and later.
func damageLines(t *testing.T, exe, prefix string) {
	t.Helper()
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := f.Section(".gopclntab")
	if section == nil {
		t.Fatal("no .gopclntab")
	}
	tab, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	count, names, functions := le.Uint64(tab[8:]), le.Uint64(tab[32:]), le.Uint64(tab[64:])
	damaged := 0
	for i := range count {
		function := tab[functions+uint64(le.Uint32(tab[functions+8*i+4:])):]
		if name := tab[names+uint64(le.Uint32(function[4:])):]; bytes.HasPrefix(name, []byte(prefix)) {
			le.PutUint32(function[24:], math.MaxInt32) // pcln
			damaged++
		}
	}
	if damaged == 0 {
		t.Fatalf("no function %s", prefix)
	}
	out, err := os.OpenFile(exe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.WriteAt(tab, int64(section.Offset)); err != nil {
		t.Fatal(err)
	}
}

// A profiler that stopped with a panic may never end. Who closes it goes on.
func TestStuck(t *testing.T) {
	failed := errors.New("a damaged file")
	release := make(chan struct{})
	defer close(release)
	stuck := &Tier{}
	stuck.ended(failed)
	stuck.work.Go(func() { <-release })
	if stuck.wait() == nil {
		t.Error("no error of one that does not end")
	}
	ended := &Tier{}
	ended.ended(failed)
	ended.work.Go(func() {})
	if err := ended.wait(); err != nil {
		t.Errorf("one that ends: %v", err)
	}
}
