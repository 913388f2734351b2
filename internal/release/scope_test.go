package release

import (
	"maps"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// scopePIDs is SCOPE_PIDS of bpf/scope.h.
const scopePIDs = uint32(releaseScopeRuleSCOPE_PIDS)

// keep returns the inode numbers of sockets that this process makes and keeps.
func keep(t *testing.T, n int) []uint64 {
	t.Helper()
	var inodes []uint64
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		inodes = append(inodes, st.Ino)
	}
	return inodes
}

// Of other processes those of the targets alone are followed.
func TestTargets(t *testing.T) {
	needs.Root(t)
	targets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 1, MaxEntries: 32768})
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	tracker := opened(t, Scope{Self: uint32(os.Getpid()), Rules: scopePIDs, Targets: targets})
	found := map[uint32]int{}
	var pids []uint32
	for i := range 2 {
		p := workload.Start(t, workload.Build(t, "fdops"))
		p.Ready()
		pids = append(pids, uint32(p.PID))
		if i == 0 {
			if err := targets.Put(pids[0], uint8(1)); err != nil {
				t.Fatal(err)
			}
		}
		p.Do("socket tcp")
	}
	if err := tracker.Files(math.MaxUint64, func(f File) { found[f.PID]++ }); err != nil {
		t.Fatal(err)
	}
	if want := map[uint32]int{pids[0]: 1}; !maps.Equal(found, want) {
		t.Errorf("files by process %v, want %v, and none of %d", found, want, pids[1])
	}
}

// opened attaches, or skips where the machine forbids it.
func opened(t *testing.T, scope Scope) *Tracker {
	t.Helper()
	tracker, err := Open(scope, nil)
	switch {
	case err != nil && needs.Virtual():
		t.Fatal(err) // no kernel that we test on forbids it
	case err != nil:
		t.Skipf("needs a machine that lets us attach to functions: %v", err)
	}
	t.Cleanup(func() {
		if err := tracker.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracker
}

// Only the sockets of who is in scope are followed, each is told once, and those
// that were released are not.
func TestScope(t *testing.T) {
	needs.Root(t)
	targets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 1, MaxEntries: 32768})
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	self := uint32(os.Getpid())
	const sockets = 1500
	for name, test := range map[string]struct {
		scope Scope
		found bool
	}{
		"everybody":          {Scope{}, true},
		"but ourselves":      {Scope{Self: self}, false},
		"ourselves, and one": {Scope{Rules: scopePIDs, Targets: targets}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if test.found && test.scope.Targets != nil {
				if err := targets.Put(self, uint8(1)); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := targets.Delete(self); err != nil {
						t.Error(err)
					}
				}()
			}
			tracker := opened(t, test.scope)
			kept := keep(t, sockets)
			var found []uint64
			err := tracker.Files(math.MaxUint64, func(f File) {
				if f.PID == self {
					found = append(found, f.Inode)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(kept)
			slices.Sort(found)
			want := kept
			if !test.found {
				want = nil
			}
			if !slices.Equal(found, want) {
				t.Errorf("%d files, want %d", len(found), len(want))
			}
			if n, err := tracker.Unreleased(); n != 0 || err != nil {
				t.Errorf("%d releases were not seen, %v", n, err)
			}
		})
	}
}
