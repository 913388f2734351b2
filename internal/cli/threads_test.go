package cli

import (
	"os/exec"
	"slices"
	"testing"

	"sockleak/internal/needs"
	"sockleak/internal/stack"
	"sockleak/internal/workload"
)

// Java names its threads for the kernel too. What an executor's threads leak says
// which they were: who handed it over is on no stack.
func TestRunThreads(t *testing.T) {
	needs.Root(t)
	const source = "testdata/languages/Threads.java"
	dir := t.TempDir()
	if out, err := exec.Command(needs.Tool(t, "javac"), "-d", dir, source).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
	program := leaker{comm: "java", argv: []string{"java", "-cp", dir, "Threads"}}
	r := runAll(t, product(t), []leaker{program}, "deep", "20", "100")
	for _, test := range []struct {
		function, mark string
		threads        []string
	}{
		{"leakInPool", "POOL", []string{"pool-1-thread-1", "pool-1-thread-2", "pool-1-thread-3", "pool-1-thread-4"}},
		{"leakInThread", "THREAD", []string{"heartbeat"}},
	} {
		t.Run(test.function, func(t *testing.T) {
			l := leaker{function: "Threads." + test.function, file: "Threads.java", line: workload.Line(t, source, "// "+test.mark), kind: stack.Java}
			leaked, made := 0, 0
			var names []string
			for i := range r.Findings {
				f := &r.Findings[i]
				if _, right := l.leads(f); !right {
					continue
				}
				leaked += f.Count
				for _, thread := range f.Threads {
					names, made = append(names, thread.Comm), made+thread.Count
				}
			}
			slices.Sort(names)
			// The first may have been made before the unwinder had read the program.
			if leaked < 10 || made != leaked || !slices.Equal(names, test.threads) {
				t.Errorf("%d leaked, of %d the thread is known: %q; want %q; %q", leaked, made, names, test.threads, culprits(r, &program))
			}
		})
	}
}
