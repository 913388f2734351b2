package preflight

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"sockleak/internal/needs"
)

func byName(t *testing.T, checks []Check) map[string]Check {
	t.Helper()
	m := make(map[string]Check)
	for _, c := range checks {
		if _, twice := m[c.Name]; twice {
			t.Errorf("two checks %q", c.Name)
		}
		m[c.Name] = c
	}
	return m
}

// everything is the name of every check in order.
var everything = []string{
	"kernel", "privilege", "kernel types (BTF)", "bpf(2)", "locked memory", "ring buffer", "kernel memory",
	"tracepoint ids", "system calls", "close_range(2)", "perf events", "tcp and processes", "descriptor iterator",
	"uprobes", "user registers", "socket files", "stacks, tier 1", "stacks, tier 2", "stacks, tier 3", "other processes", "kernel symbols", "descriptor limit", "pid namespace",
}

var everyCheck = extent{tracing: true, optional: true}

func TestAllThere(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		sys := working()
		checks := run(sys, arch, everyCheck)
		var names []string
		for _, c := range checks {
			names = append(names, c.Name)
			if c.Status != OK || c.Detail == "" || c.Consequence != "" || c.Remedy != "" {
				t.Errorf("%+v", c)
			}
		}
		if !reflect.DeepEqual(names, everything) {
			t.Errorf("checks %q, want %q", names, everything)
		}
		if err := Fatal(checks); err != nil {
			t.Error(err)
		}
		if sys.openedIDs != 0 || !reflect.DeepEqual(sys.attachedIDs, []uint64{uint64(len(rareHook))}) {
			t.Errorf("left %d open, attached %d", sys.openedIDs, sys.attachedIDs)
		}
	}
}

// What is not required is tried by doctor alone: the others need it at once anyway,
// and attach to the same functions again.
func TestTried(t *testing.T) {
	typed := append([]string{"task_file"}, typedHooks[:]...)
	complete := append([]string{"tracefs"}, completeTyped[:]...)
	tracing := append([]string{"ring", "tracefs", "tracepoint"}, typed...)
	for of, want := range map[extent][]string{
		{}:              typed[:1],
		{tracing: true}: tracing,
		everyCheck:      slices.Concat(tracing, []string{"uprobe", "release", "trie"}, complete, []string{"maps"}),
	} {
		sys := working()
		checks := run(sys, "amd64", of)
		if !slices.Equal(sys.tried, want) {
			t.Errorf("%+v: tried %q, want %q", of, sys.tried, want)
		}
		for _, c := range checks {
			if c.Status != OK {
				t.Errorf("%+v: %+v", of, c)
			}
		}
	}
}

func TestDup2OnARM64(t *testing.T) {
	sys := working()
	sys.lacks = []string{"sys_enter_dup2", "sys_exit_dup2"}
	for arch, want := range map[string]Status{"amd64": Missing, "arm64": OK} {
		if got := byName(t, run(sys, arch, everyCheck))["system calls"]; got.Status != want {
			t.Errorf("%s: %+v, want %s", arch, got, want)
		}
	}
}

func TestSeveralProblems(t *testing.T) {
	sys := working()
	sys.ringErr = syscall.EINVAL
	sys.byType["task_file"] = ebpf.ErrNotSupported
	const want = `cannot trace on this machine
  ring buffer: no BPF ring buffer: invalid argument
    what it costs you: no way for events to reach sockleak
    what to do:        use Linux 5.8 or later
  descriptor iterator: no BPF iterator over task_file
    what it costs you: what is open cannot be confirmed, so nothing could be
                       reported
    what to do:        use Linux 5.8 or later`
	if err := Fatal(run(sys, "amd64", everyCheck)); err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestText(t *testing.T) {
	checks := []Check{
		{Name: "kernel", Status: OK, Detail: "6.1.0 x86_64"},
		{Name: "privilege", Required: true, Status: Missing, Detail: "uid 1000", Consequence: "nothing works", Remedy: "run it with sudo"},
		{Name: "bpf(2)", Required: true, Status: Unknown, Detail: "not tried"},
		{Name: "a name that is longer than", Status: Degraded, Detail: strings.Repeat("word ", 12), Consequence: strings.Repeat("costs ", 12)},
		{Name: "empty", Status: OK},
	}
	const want = `ok        kernel               6.1.0 x86_64
MISSING   privilege            uid 1000
          what it costs you: nothing works
          what to do:        run it with sudo
unknown   bpf(2)               not tried
degraded  a name that is longer than word word word word word word word word
                               word word word word
          what it costs you: costs costs costs costs costs costs costs costs
                             costs costs costs costs
ok        empty
`
	var b strings.Builder
	if err := Text(&b, checks); err != nil || b.String() != want {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, b.String(), want)
	}
	if err := Text(failing{}, checks); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("to a closed pipe: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestJSON(t *testing.T) {
	got, err := json.Marshal([]Check{needRing.ok("yes"), needRegisters.without("no", "cost", "do")})
	const want = `[{"name":"ring buffer","required":true,"status":"ok","detail":"yes"},` +
		`{"name":"user registers","required":false,"status":"degraded","detail":"no","consequence":"cost","remedy":"do"}]`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// childEnv makes the test binary, started again, run the checks and print
// them as JSON.
const childEnv = "SOCKLEAK_PREFLIGHT_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := json.NewEncoder(os.Stdout).Encode(Run()); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestUnprivileged(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	uid := os.Getuid()
	if uid == 0 {
		uid = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var checks []Check
	if err := json.Unmarshal(out, &checks); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := byName(t, checks)["privilege"]
	want := Check{
		Name: "privilege", Required: true, Status: Missing,
		Detail:      fmt.Sprintf("uid %d without CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)", uid),
		Consequence: "the kernel lets sockleak load no BPF program: nothing can be traced",
		Remedy:      "run it with sudo",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var fatal *Error
	if err := Fatal(checks); !errors.As(err, &fatal) || !slices.Contains(fatal.Missing, want) {
		t.Errorf("Fatal: %v", err)
	}
}

// TestThisMachine: as root, no check may fail to find out, and nothing may be
// left behind.
func TestThisMachine(t *testing.T) {
	needs.Root(t)
	start := time.Now()
	checks := Run()
	took := time.Since(start)
	before := descriptors(t)
	again := Run()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
	if !reflect.DeepEqual(checks, again) {
		t.Errorf("not the same twice:\n%+v\n%+v", checks, again)
	}
	for _, c := range checks {
		if c.Status == Unknown && Fatal(checks) == nil {
			t.Errorf("%+v", c)
		}
	}
	var b strings.Builder
	if err := Text(&b, checks); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > width+1 {
			t.Errorf("line too long: %q", line)
		}
	}
	t.Logf("in %v:\n%s", took, b.String())
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestOneRefused: when one program is refused, the others still get their own
// answer.
func TestOneRefused(t *testing.T) {
	needs.Root(t)
	errs := kernel{}.AttachByType([]hook{
		{ebpf.AttachTraceRawTp, "sched_process_exec"},
		{ebpf.AttachTraceRawTp, "no_such_tracepoint"},
		{ebpf.AttachTraceIter, "no_such_iterator"},
		{ebpf.AttachTraceIter, "task_file"},
	})
	if errs[0] != nil || errs[3] != nil || !errors.Is(errs[1], ebpf.ErrNotSupported) || !errors.Is(errs[2], ebpf.ErrNotSupported) {
		t.Errorf("%v", errs)
	}
}
