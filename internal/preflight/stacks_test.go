package preflight

import (
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sockleak/internal/deepstack"
)

// What only tier 1 needs costs no native stack, and what is said of it doesn't deny
// those.
func TestNativeStacksStay(t *testing.T) {
	for name, lack := range map[string]func(*fake){
		"user registers": func(f *fake) { f.regsErr = deepstack.ErrNoRegisters },
		"stacks, tier 1": func(f *fake) { f.trieErr = syscall.ENOMEM },
		"kernel symbols": func(f *fake) { f.files["/proc/sys/kernel/kptr_restrict"] = "2\n" },
	} {
		sys := working()
		lack(sys)
		all := byName(t, run(sys, "amd64", everyCheck))
		if all["stacks, tier 2"].Status != OK {
			t.Errorf("%s: %+v", name, all["stacks, tier 2"])
		}
		if c := all[name]; c.Status != Degraded || !strings.Contains(c.Consequence, "tier 2") || strings.Contains(c.Consequence, "frame pointers") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// Each tier says by itself why it can't be had; none is required.
func TestStackTiers(t *testing.T) {
	tests := []struct {
		name   string
		arch   string
		change func(*fake)
		want   map[string]string // tier -> a word of what was found, where it isn't there
	}{
		{"5.10", "amd64", func(f *fake) { f.regsErr = deepstack.ErrNoRegisters },
			map[string]string{"stacks, tier 1": "no bpf_task_pt_regs"}},
		{"another architecture", "riscv64", func(*fake) {}, map[string]string{"stacks, tier 1": "riscv64"}},
		{"no trie", "amd64", func(f *fake) { f.trieErr = syscall.ENOMEM }, map[string]string{"stacks, tier 1": "LPM trie"}},
		{"a hook less", "arm64", func(f *fake) { f.byType["sched_process_free"] = ebpf.ErrNotSupported },
			map[string]string{"stacks, tier 1": "sched_process_free"}},
		{"no records", "amd64", func(f *fake) { f.mapsErr = syscall.EACCES }, map[string]string{"stacks, tier 2": "permission denied"}},
		{"no stacks", "amd64", func(f *fake) { f.helperErr[asm.FnGetStack] = ebpf.ErrNotSupported },
			map[string]string{"stacks, tier 3": "no bpf_get_stack"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sys := working()
			test.change(sys)
			checks := run(sys, test.arch, everyCheck)
			if err := Fatal(checks); err != nil {
				t.Error(err)
			}
			all := byName(t, checks)
			for _, tier := range []string{"stacks, tier 1", "stacks, tier 2", "stacks, tier 3"} {
				c, why := all[tier], test.want[tier]
				if why == "" && c.Status != OK || why != "" && (c.Status != Degraded || !strings.Contains(c.Detail, why) || c.Remedy == "") {
					t.Errorf("%+v, want %q", c, why)
				}
			}
		})
	}
}

// A tracepoint that can't be looked up is not one that isn't there.
func TestHookNotFoundOut(t *testing.T) {
	for name, broken := range map[string]func(*fake){
		"of a call": func(f *fake) { f.lackErr, f.lacks = syscall.EACCES, completeSyscalls[:1] },
		"typed":     func(f *fake) { f.byType["sched_process_free"] = syscall.EACCES },
	} {
		sys := working()
		broken(sys)
		c := byName(t, run(sys, "amd64", everyCheck))["stacks, tier 1"]
		if c.Status != Unknown || !strings.Contains(c.Detail, "permission denied") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
