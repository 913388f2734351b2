package probe

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Scope says whose sockets are followed. The zero value means everybody's.
type Scope struct {
	PIDs     []uint32 // thread group ids of the initial pid namespace; empty: all
	Children bool     // with PIDs: also what they fork from now on
	Comms    []string // only processes of these names; empty: all
	Exclude  []string // no processes of these names
}

// Config is what can be chosen at load.
type Config struct {
	Scope Scope
	// RingSize is the size of the ring buffer in bytes. The kernel wants a
	// power of two and at least a page; it is rounded up.
	RingSize int
	// MaxSockets is the number of TCP sockets whose states can be followed at
	// one time.
	MaxSockets int
	Stacks     bool // take user stacks
	// Copies is the size of the ring buffer for copies of stacks in bytes,
	// rounded up like RingSize; zero: none are taken.
	Copies int
	// StackRate is how many stacks are taken of one process in a second; zero:
	// all. Past it, one in so many sockets has one, and as many again are
	// taken of calls that were not seen before or not walked for a second.
	// Copies have a bound of their own by it, for a quarter of a second.
	StackRate uint32
	LastUse   bool // event.Use too, which costs every read and write of the machine
	// Types keeps the kernel's types for who loads more programs, because reading them
	// takes tens of ms; nil: they are read anew.
	Types *btf.Cache

	preempted bool // a test wants what is done where tracepoint.Preempted
}

// constants returns what the programs are to read from their constants; twice:
// exit_socket is attached twice.
func constants(cfg Config, twice bool) (map[string]any, error) {
	var secret [2]uint64
	if err := binary.Read(rand.Reader, binary.NativeEndian, &secret); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	var scope bpfScopeRule
	if len(cfg.Scope.PIDs) > 0 {
		scope |= bpfScopeRuleSCOPE_PIDS
		if cfg.Scope.Children {
			scope |= bpfScopeRuleSCOPE_CHILDREN
		}
	}
	if len(cfg.Scope.Comms) > 0 {
		scope |= bpfScopeRuleSCOPE_COMM
	}
	if len(cfg.Scope.Exclude) > 0 {
		scope |= bpfScopeRuleSCOPE_EXCLUDE
	}
	return map[string]any{
		bpfVarCfgTwice:     twice,
		bpfVarCfgSelf:      uint32(os.Getpid()),
		bpfVarCfgScope:     uint32(scope),
		bpfVarCfgSecret:    secret,
		bpfVarCfgStacks:    cfg.Stacks,
		bpfVarCfgStackRate: cfg.StackRate,
		bpfVarCfgCopies:    cfg.Copies > 0,
		bpfVarCfgCopyRate:  copiesPerWindow(cfg.StackRate),
	}, nil
}

// set sets the constants.
func set(spec *ebpf.CollectionSpec, constants map[string]any) error {
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// size sets the sizes of the maps; twice: exit_socket is attached twice.
func size(spec *ebpf.CollectionSpec, cfg Config, twice bool) {
	spec.Maps[bpfMapEvents].MaxEntries = ringSize(cfg.RingSize)
	if copies := spec.Maps[bpfMapCopies]; copies != nil {
		copies.MaxEntries = ringSize(cfg.Copies)
	}
	if !twice {
		spec.Maps[bpfMapBirthsSent].MaxEntries = 1
	}
	if cfg.MaxSockets > 0 {
		spec.Maps[bpfMapTcpSocks].MaxEntries = uint32(cfg.MaxSockets)
	}
}

// ringSize rounds up to what BPF_MAP_TYPE_RINGBUF accepts: a power of two, whole
// pages.
func ringSize(want int) uint32 {
	size := os.Getpagesize()
	for size < want && size < 1<<30 {
		size *= 2
	}
	return uint32(size)
}
