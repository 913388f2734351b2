package mapfollow

import (
	"container/list"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sockleak/internal/event"
	"sockleak/internal/needs"
	"sockleak/internal/symbol"
)

func newFollower() *Follower {
	return &Follower{lives: map[uint32][]*life{}, order: list.New()}
}

// bytesOf writes a record as the kernel does.
func bytesOf(kind uint32, misc uint16, body []byte, time uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, kind)
	b = le.AppendUint16(b, misc)
	b = le.AppendUint16(b, uint16(headerSize+len(body)+idSize))
	b = append(b, body...)
	return le.AppendUint64(append(b, make([]byte, 8)...), time)
}

func words32(v ...uint32) (b []byte) {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func mmapBody(pid uint32, start, size uint64, prot uint32, name string) []byte {
	le := binary.LittleEndian
	b := words32(pid, pid)
	b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, start), size), 0x1000)
	b = append(b, words32(8, 1)...)
	b = le.AppendUint64(le.AppendUint64(b, 77), 0)
	return append(append(b, words32(prot, 2)...), name...)
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name string
		in   []byte
		want record
		ok   bool
	}{
		{"mmap2", bytesOf(recordMmap2, 0, mmapBody(5, 0x400000, 0x2000, protExec, "/bin/x\x00\x00"), 9),
			record{kind: recordMmap2, pid: 5, tid: 5, time: 9, mapping: symbol.Mapping{
				Start: 0x400000, End: 0x402000, Offset: 0x1000, Dev: 8<<32 | 1, Inode: 77, Path: "/bin/x"}}, true},
		{"not executable", bytesOf(recordMmap2, 0, mmapBody(5, 0x400000, 0x2000, 1, "/bin/x\x00"), 9), record{}, false},
		{"beyond the end of memory", bytesOf(recordMmap2, 0, mmapBody(5, 1<<63, 1<<63+1, protExec, "\x00"), 9), record{}, false},
		{"exec", bytesOf(recordComm, miscCommExec, append(words32(5, 6), "name\x00\x00\x00\x00"...), 9), record{kind: recordComm, exec: true, pid: 5, tid: 6, time: 9}, true},
		{"a thread's name", bytesOf(recordComm, 0, append(words32(5, 6), "name\x00\x00\x00\x00"...), 9), record{}, false},
		{"fork", bytesOf(recordFork, 0, append(words32(5, 4, 6, 3), make([]byte, 8)...), 9), record{kind: recordFork, pid: 5, parent: 4, tid: 6, time: 9}, true},
		{"short", bytesOf(recordFork, 0, words32(5, 4), 9), record{}, false},
		{"nothing", nil, record{}, false},
	} {
		got, ok := parse(test.in)
		if ok != test.ok || ok && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", test.name, ok, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(bytesOf(recordMmap2, 0, mmapBody(5, 0x400000, 0x2000, protExec, "/bin/x\x00"), 9))
	f.Add(bytesOf(recordFork, 0, words32(5, 4, 6, 3), 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parse(b)
		if ok && r.kind == recordMmap2 && r.mapping.End <= r.mapping.Start {
			t.Errorf("%+v", r.mapping)
		}
	})
}

func at(start, end uint64) symbol.Mapping { return symbol.Mapping{Start: start, End: end} }

// A child has its parent's code until it execs; what is mapped over something
// takes its place; a process number that is used again is told apart by time.
func TestLives(t *testing.T) {
	f := newFollower()
	const second = 1_000_000_000
	for _, r := range []record{
		{kind: recordFork, pid: 10, parent: 1, time: 1 * second},
		{kind: recordMmap2, pid: 10, mapping: at(100, 200)},
		{kind: recordMmap2, pid: 10, mapping: at(300, 400)},
		{kind: recordFork, pid: 11, parent: 10, time: 2 * second},
		{kind: recordMmap2, pid: 10, mapping: at(150, 250)},
		{kind: recordFork, pid: 10, tid: 12, parent: 10, time: 2 * second},
		{kind: recordComm, exec: true, pid: 11},
		{kind: recordMmap2, pid: 11, mapping: at(500, 600)},
		{kind: recordFork, pid: 10, parent: 1, time: 5 * second},
		{kind: recordMmap2, pid: 10, mapping: at(700, 800)},
		{kind: recordMmap2, pid: 99, mapping: at(1, 2)},
	} {
		f.apply(&r)
	}
	for _, test := range []struct {
		p    event.ProcessKey
		want []symbol.Mapping
	}{
		{event.ProcessKey{PID: 10, Start: 1 * second}, []symbol.Mapping{at(150, 250), at(300, 400)}},
		{event.ProcessKey{PID: 10, Start: 5*second - 1e6}, []symbol.Mapping{at(700, 800)}},
		{event.ProcessKey{PID: 10, Start: 3 * second}, nil},
		{event.ProcessKey{PID: 11, Start: 2 * second}, []symbol.Mapping{at(500, 600)}},
		{event.ProcessKey{PID: 99, Start: 2 * second}, nil},
	} {
		if got := f.Maps(test.p); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: got %v, want %v", test.p, got, test.want)
		}
	}
}

// A child has its parent's mappings, in the same memory, until either has another.
func TestForked(t *testing.T) {
	f := newFollower()
	parent, child := event.ProcessKey{PID: 10, Start: 1e9}, event.ProcessKey{PID: 11, Start: 2e9}
	for _, r := range []record{
		{kind: recordFork, pid: 10, parent: 1, time: 1e9}, {kind: recordMmap2, pid: 10, mapping: at(300, 400)},
		{kind: recordFork, pid: 11, parent: 10, time: 2e9},
	} {
		f.apply(&r)
	}
	if &f.Maps(parent)[0] != &f.Maps(child)[0] {
		t.Error("the child has a copy")
	}
	for _, r := range []record{{kind: recordMmap2, pid: 11, mapping: at(350, 450)}, {kind: recordMmap2, pid: 10, mapping: at(100, 200)}} {
		f.apply(&r)
	}
	for p, want := range map[event.ProcessKey][]symbol.Mapping{parent: {at(100, 200), at(300, 400)}, child: {at(350, 450)}} {
		if got := f.Maps(p); !reflect.DeepEqual(got, want) {
			t.Errorf("%v: got %v, want %v", p, got, want)
		}
	}
}

// A program is what was mapped first after exec. A child runs its parent's until it
// execs, and what is mapped later is none, also where the parent isn't known.
func TestProgram(t *testing.T) {
	f := newFollower()
	mapped := func(pid uint32, start uint64, path string) record {
		return record{kind: recordMmap2, pid: pid, mapping: symbol.Mapping{Start: start, End: start + 10, Inode: start, Path: path}}
	}
	stack := record{kind: recordMmap2, pid: 11, mapping: symbol.Mapping{Start: 1 << 40, End: 1<<40 + 10, Path: "//anon"}}
	for _, r := range []record{
		{kind: recordFork, pid: 10, parent: 1, time: 1e9},
		mapped(10, 100, "/lib/plugin.so"),
		{kind: recordFork, pid: 11, parent: 10, time: 1e9},
		{kind: recordComm, exec: true, pid: 11},
		stack,
		mapped(11, 200, "/bin/server (deleted)"),
		mapped(11, 100, "/lib/ld.so"),
		{kind: recordFork, pid: 12, parent: 11, time: 2e9},
		mapped(12, 300, "/lib/plugin.so"),
		{kind: recordFork, pid: 13, parent: 12, time: 2e9},
		{kind: recordComm, exec: true, pid: 13},
	} {
		f.apply(&r)
	}
	for p, want := range map[event.ProcessKey]string{
		{PID: 10, Start: 1e9}: "", {PID: 11, Start: 1e9}: "/bin/server", {PID: 12, Start: 2e9}: "/bin/server",
		{PID: 13, Start: 2e9}: "", {PID: 12, Start: 1e9}: "", {PID: 99, Start: 1e9}: "",
	} {
		if got := f.Program(p); got != want {
			t.Errorf("%v runs %q, want %q", p, got, want)
		}
	}
}

// After a loss nothing from before is believed.
func TestLost(t *testing.T) {
	f := newFollower()
	for _, r := range []record{
		{kind: recordFork, pid: 10, parent: 1, time: 1e9}, {kind: recordMmap2, pid: 10, mapping: at(100, 200)},
		{kind: recordLost},
		{kind: recordFork, pid: 11, parent: 10, time: 2e9}, {kind: recordMmap2, pid: 11, mapping: at(300, 400)},
	} {
		f.apply(&r)
	}
	if got := f.Maps(event.ProcessKey{PID: 10, Start: 1e9}); got != nil {
		t.Errorf("before the loss: %v", got)
	}
	if got := f.Maps(event.ProcessKey{PID: 11, Start: 2e9}); !reflect.DeepEqual(got, []symbol.Mapping{at(300, 400)}) {
		t.Errorf("after the loss: %v", got)
	}
	if f.Lost() != 1 {
		t.Errorf("%d losses", f.Lost())
	}
}

func TestBounded(t *testing.T) {
	f := newFollower()
	for pid := range uint32(3 * maxProcesses) {
		f.apply(&record{kind: recordFork, pid: pid + 1, parent: 0xffff_ffff, time: uint64(pid)})
	}
	if f.order.Len() != maxProcesses || len(f.lives) != maxProcesses {
		t.Errorf("%d processes in order, %d by number", f.order.Len(), len(f.lives))
	}
	for m := range uint64(2 * maxMappings) {
		f.apply(&record{kind: recordMmap2, pid: 3 * maxProcesses, mapping: at(m*10+1, m*10+2)})
	}
	if n := len(f.newest(3 * maxProcesses).maps); n != maxMappings {
		t.Errorf("%d mappings", n)
	}
}

// A program that is long gone is known by its mappings.
func TestGoneProcess(t *testing.T) {
	needs.Root(t)
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	program, err := filepath.EvalSymlinks("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		cmd := exec.Command(program)
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		l := func() *life { f.Drain(); return f.newest(uint32(cmd.Process.Pid)) }()
		if l == nil {
			t.Fatal("not seen")
		}
		maps := f.Maps(event.ProcessKey{PID: l.pid, Start: l.start})
		if got := f.Program(event.ProcessKey{PID: l.pid, Start: l.start}); got != program {
			t.Errorf("ran %q, want %q", got, program)
		}
		var names []string
		for _, m := range maps {
			names = append(names, filepath.Base(m.Path))
		}
		if all := strings.Join(names, " "); !strings.HasPrefix(all, "true ") || !strings.Contains(all, "libc.so.6") {
			t.Errorf("mapped: %s", all)
		}
	}
}
