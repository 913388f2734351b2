// Package stack defines the origin of a socket: the user stack of the code
// that created it, and how much of it can be trusted.
package stack

import "sockleak/internal/event"

// Quality says how much of a stack is there.
type Quality string

// Every origin has one of these.
const (
	Complete Quality = "complete" // every frame up to the start of the thread
	Partial  Quality = "partial"  // frames may be missing or wrong; Reason says why
	None     Quality = "none"     // no frame; Reason says why
)

// Kind is the runtime a frame belongs to.
type Kind string

// The kinds of frames.
const (
	Native Kind = "native"
	Go     Kind = "go"
	Python Kind = "python"
	Node   Kind = "node"
	Java   Kind = "java"
	Ruby   Kind = "ruby"
	Kernel Kind = "kernel"
)

// Frame is one function on a stack, callee first. A function inlined into
// another has a frame of its own before that of the function it is inlined in,
// with the same Address.
type Frame struct {
	Function string `json:"function,omitempty"` // demangled; empty if unknown
	Module   string `json:"module,omitempty"`   // path of the mapped file as the process sees it
	File     string `json:"file,omitempty"`     // source file; empty if unknown
	Line     int    `json:"line,omitempty"`     // from 1; 0 if unknown
	Address  uint64 `json:"address"`            // virtual address in the module's ELF file (link time), else in the process
	Kind     Kind   `json:"kind"`
	Inlined  bool   `json:"inlined,omitempty"`
}

// Origin is where a socket was made.
type Origin struct {
	Quality Quality
	Reason  string // why it isn't complete; empty when it is
	Frames  []Frame
}

// Raw is a stack as the kernel took it: addresses of the process, callee
// first. The first is the instruction after the system call; the others are
// return addresses.
type Raw struct {
	ID      uint64
	Process event.ProcessKey
	// Caller is what a function without a frame of its own would return to:
	// the word at the user stack pointer on amd64, the link register on
	// arm64. Zero if it could not be read. A frame-pointer walk skips it.
	Caller uint64
	// Truncated: the stack is deeper than what was taken.
	Truncated bool
	Addresses []uint64
}

// Copy is the registers and a piece of the stack of a thread that made a system
// call. Addresses are those of the process.
type Copy struct {
	ID      uint64 // what the event names it by
	Seed    uint64 // of the hash of the walk: process, program, PC and SP
	Process event.ProcessKey
	// PC is the instruction after the system call. LR is zero on amd64.
	PC, SP, FP, LR uint64
	Base           uint64 // address of the first byte
	Bytes          []byte
	Cut            bool // memory could not be read any further: the stack's end, or a page that is not there
}

// Resolver turns stacks into origins. It is the seam between the tiers of
// stack walking and the rest of the program.
//
// Capture is called once, as soon as possible after the stack was taken, and
// keeps what is needed to resolve it after the process is gone. Resolve may be
// called much later, any number of times, from the goroutine that called
// Capture. Exec says that from now on the process runs another program: what
// was captured stays valid, what comes next is to be looked at afresh. Forget
// lets go of what is only needed to capture more stacks of a process that
// ended; its stacks still resolve.
type Resolver interface {
	Capture(Raw)
	Resolve(p event.ProcessKey, id uint64) Origin
	Exec(p event.ProcessKey)
	Forget(p event.ProcessKey)
}
