package privilege

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
)

const (
	childEnv       = "SOCKLEAK_PRIVILEGE_CHILD"
	withUprobes    = "uprobes"
	withoutUprobes = "none"
)

// TestMain makes the test binary, started again, drop its capabilities and print
// those of each of its threads.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	go func() { // a thread beside the one that drops
		for {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(time.Millisecond)}, nil)
		}
	}()
	if err := errors.Join(Drop(os.Getenv(childEnv) == withUprobes), printCapabilities()); err != nil {
		fmt.Println(err)
	}
}

func printCapabilities() error {
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	seen := map[string]bool{}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if (name == "CapEff" || name == "CapPrm" || name == "CapInh" || name == "CapAmb") && !seen[name+value] {
				seen[name+value] = true
				fmt.Printf("%s %s ", name, strings.TrimLeft(value, "0"))
			}
		}
	}
	return err
}

func TestDrop(t *testing.T) {
	needs.Root(t) // else there is nothing to drop
	const (
		bpf, perfmon, admin, ptrace = unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE
		search, raw, files          = unix.CAP_DAC_READ_SEARCH, unix.CAP_NET_RAW, unix.CAP_CHECKPOINT_RESTORE
	)
	mask := func(capabilities ...uintptr) string {
		var m uint64
		for _, c := range capabilities {
			m |= 1 << c
		}
		if m == 0 {
			return ""
		}
		return fmt.Sprintf("%x", m)
	}
	for _, test := range []struct {
		name       string
		child      string
		have, keep []uintptr
	}{
		{"what is not needed goes", withoutUprobes, []uintptr{bpf, perfmon, admin, ptrace, search, files, raw}, []uintptr{bpf, perfmon, ptrace, search, files}},
		{"uprobes are to come", withUprobes, []uintptr{bpf, perfmon, admin, raw}, []uintptr{bpf, perfmon, admin}},
		{"CAP_SYS_ADMIN stands for CAP_BPF", withoutUprobes, []uintptr{admin, perfmon, files, raw}, []uintptr{admin, perfmon, files}},
		{"nothing", withoutUprobes, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childEnv+"="+test.child)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: test.have,
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			keep := mask(test.keep...)
			if want := fmt.Sprintf("CapInh  CapPrm %s CapEff %s CapAmb  ", keep, keep); string(out) != want {
				t.Errorf("got  %q\nwant %q", out, want)
			}
		})
	}
}
