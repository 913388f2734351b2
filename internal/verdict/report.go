// Package verdict judges the sockets in the lifecycle table: which are leaked,
// by which rule, on what evidence, and which are not.
package verdict

import (
	"time"

	"sockleak/internal/event"
	"sockleak/internal/stack"
)

// Schema names the shape of Report in JSON. It changes when a reader of the
// old shape would misread the new one.
const Schema = "sockleak.report/v1"

// Verdict is the answer in one word.
type Verdict string

// The verdicts. Inconclusive: nothing was found, but the record has holes, or
// was too short, so that nothing can be said.
const (
	Leak         Verdict = "leak"
	NoLeak       Verdict = "no-leak"
	Inconclusive Verdict = "inconclusive"
)

// Class names the rule by which sockets were found leaked.
type Class string

// The classes of findings; docs/findings.md explains each.
const (
	NeverUsed      Class = "never-used"
	ConnectPending Class = "connect-pending"
	ConnectFailed  Class = "connect-failed"
	PeerClosed     Class = "peer-closed"
	Dead           Class = "dead"
	HalfClosed     Class = "half-closed"
	HalfOpen       Class = "half-open"
	Superseded     Class = "superseded"
	Abandoned      Class = "abandoned"
	Growing        Class = "growing"
	Inherited      Class = "inherited"
)

// Confidence says how sure a finding is.
type Confidence string

// High: the program can no longer do anything useful with the sockets, or the
// count grew without end. Medium: the rule holds, but a program may have its
// reasons. Low: part of the evidence is missing.
const (
	High   Confidence = "high"
	Medium Confidence = "medium"
	Low    Confidence = "low"
)

// Report is everything sockleak has to say at one moment. Its JSON is the
// interface other programs read (docs/report.md): fields may be added, and a
// pointer that is nil is unknown, which is never the same as zero.
type Report struct {
	Schema  string  `json:"schema"`
	Verdict Verdict `json:"verdict"`
	// Reasons says in words what carried the verdict; the first is the
	// shortest answer.
	Reasons []string `json:"reasons"`
	// Started is when tracing began, Duration how long it lasted, in seconds.
	Started  time.Time `json:"started"`
	Duration float64   `json:"duration_s"`
	// Scope is what was looked at, in words: "pid 4242", "the whole system".
	Scope   string `json:"scope"`
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	// MinAge is the grace time the rules used, Idle the silence after which an
	// established connection may be suspected, both in seconds.
	MinAge   float64   `json:"min_age_s"`
	Idle     float64   `json:"idle_s"`
	Totals   Totals    `json:"totals"`
	Loss     Loss      `json:"loss"`
	Limits   []Limit   `json:"limits"`
	Findings []Finding `json:"findings"`
	// Observations says what is worth knowing of sockets that no rule accuses.
	Observations []string `json:"observations"`
	// Omitted is the number of findings that --top left out.
	Omitted int `json:"omitted,omitempty"`
	// Notes are limits of this run that the reader should know: processes
	// that ended, hooks that are missing, a recording that stopped.
	Notes []string `json:"notes"`
}

// Totals counts the sockets of the processes in scope.
type Totals struct {
	Opened      uint64 `json:"opened"`      // since tracing began
	Closed      uint64 `json:"closed"`      // of all: the last descriptor went
	Live        uint64 `json:"live"`        // open now
	Preexisting uint64 `json:"preexisting"` // of those live now: opened before tracing began
	// Winding is the number of sockets whose descriptors are all closed and
	// that the kernel still holds, in FIN-WAIT, LAST-ACK, CLOSING.
	Winding uint64 `json:"winding_down"`
	// TimeWait is the number of TIME-WAIT sockets in the network namespaces
	// concerned; they belong to no process, and may have been any program's.
	TimeWait *uint64 `json:"time_wait"`
	// TCP: one at least was TCP's, so that TimeWait may matter.
	TCP bool `json:"-"`
}

// Loss is what could not be recorded, and how often the table was compared
// with the kernel's own.
type Loss struct {
	event.Loss
	Reconciles uint64 `json:"reconciles"`
	// Repaired counts descriptors a reconcile had to add or take away.
	Repaired uint64 `json:"repaired"`
}

// Limit is a process's limit of open files, RLIMIT_NOFILE of getrlimit(2).
type Limit struct {
	PID    uint32 `json:"pid"`
	Comm   string `json:"comm"`
	NoFile uint64 `json:"nofile"` // soft limit
	Used   uint64 `json:"used"`   // all descriptors, not sockets alone
	// GrowthPerMin and ExhaustedIn forecast when the limit is reached.
	GrowthPerMin *float64 `json:"growth_per_min"`
	ExhaustedIn  *float64 `json:"exhausted_in_s"`
}

// Process is a process as the report names it.
type Process struct {
	PID   uint32     `json:"pid"`
	NSPID *uint32    `json:"ns_pid,omitempty"` // in its own pid namespace, if another
	Comm  string     `json:"comm"`
	Exe   *string    `json:"exe"`
	Start *time.Time `json:"start"`
	// Container is the id of the container it runs in, as its engine knows
	// it; empty if it is in none.
	Container string `json:"container,omitempty"`
}

// Finding is a group of leaked sockets with one origin and one class.
type Finding struct {
	Class      Class      `json:"class"`
	Confidence Confidence `json:"confidence"`
	Process    Process    `json:"process"`
	Count      int        `json:"count"`
	// OldestAge and YoungestAge are in seconds since the socket was created;
	// nil when it was opened before tracing began.
	OldestAge   *float64 `json:"oldest_age_s"`
	YoungestAge *float64 `json:"youngest_age_s"`
	// GrowthPerMin is how many more are open each minute; nil while it has
	// been watched for too short.
	GrowthPerMin *float64 `json:"growth_per_min"`
	// Series is the count at the looks since the origin was first seen, from
	// the oldest to the newest; at most 128 samples.
	Series []Sample `json:"series"`
	Origin Origin   `json:"origin"`
	// RequestedAt is where the program asked for the sockets, nil if that is
	// not known to be another place than where they were made. If it is another,
	// and the stack was left out of all of them, its quality is stack.None.
	RequestedAt *Requested `json:"requested_at,omitempty"`
	// AcceptedFrom is the listener of sockets that were accepted, nil for others
	// and if it is gone.
	AcceptedFrom *Accepted `json:"accepted_from,omitempty"`
	// Threads are the threads that made the sockets, by name, the most frequent
	// first; empty if all of them are called as the process is.
	Threads []Thread `json:"threads"`
	// LastUse is the last calls on the sockets that told something, the most
	// frequent first; empty unless that was asked for.
	LastUse  []LastUse      `json:"last_use"`
	States   map[string]int `json:"states"`
	Peers    []Peer         `json:"peers"` // most frequent first
	Sockets  []Socket       `json:"sockets"`
	Evidence []string       `json:"evidence"`
	Advice   string         `json:"advice"`
}

// Sample is a count at one look.
type Sample struct {
	At    float64 `json:"at_s"` // seconds since tracing began
	Count int     `json:"count"`
}

// Origin is where the sockets of a finding were made.
type Origin struct {
	Quality stack.Quality `json:"quality"`
	Reason  string        `json:"reason,omitempty"` // why it isn't complete
	// Inferred: some of the sockets have the stack of others: they were opened before
	// tracing began or before stacks of every language were there, or their own was
	// lost or left out. The evidence says which.
	Inferred bool          `json:"inferred"`
	Frames   []stack.Frame `json:"frames"`
	// Culprit is the index in Frames of the first frame of the program's own
	// code; nil if there is none.
	Culprit *int `json:"culprit"`
}

// Requested is where the sockets of a finding were asked for.
type Requested struct {
	Via      Via           `json:"via"`
	Quality  stack.Quality `json:"quality"`
	Reason   string        `json:"reason,omitempty"` // why it isn't complete
	Inferred bool          `json:"inferred"`         // as in Origin
	Frames   []stack.Frame `json:"frames"`
	// Culprit is the index in Frames of the first frame of the program's own
	// code; nil if there is none.
	Culprit *int `json:"culprit"`
}

// Accepted is a listener, and where it was asked for, or else made.
type Accepted struct {
	Address *string       `json:"address"` // nil if it has none
	Via     *Via          `json:"via"`     // nil: where it was made
	Quality stack.Quality `json:"quality"`
	Reason  string        `json:"reason,omitempty"` // why it isn't complete
	Frames  []stack.Frame `json:"frames"`
	// Culprit is the index in Frames of the first frame of the program's own
	// code; nil if there is none.
	Culprit *int `json:"culprit"`
}

// Via says how it is known who asked for a socket.
type Via string

// The ways to know it. ViaLibuv: by the stack on which the libuv handle was made.
// ViaGo: by the go statement that started the goroutine that made the socket.
const (
	ViaLibuv Via = "libuv"
	ViaGo    Via = "go-created-by"
)

// LastUse is a call that said that a socket is over, or that the program has done
// with it.
type LastUse struct {
	Operation string `json:"operation"` // the call, those of a family by one name
	Result    string `json:"result"`    // "end of file", an error, "done"
	Count     int    `json:"count"`     // sockets whose last it was
	Origin    Origin `json:"origin"`
}

// Thread is the name of threads, and how many sockets of the finding they made.
type Thread struct {
	Comm  string `json:"comm"` // when they made them; 15 bytes at most
	Count int    `json:"count"`
}

// Peer is a remote address and how many sockets of the finding have it.
type Peer struct {
	Address string `json:"address"` // address:port, or a path
	// Name is what the address is called where the process runs
	// (/etc/hosts); empty if it has no name there.
	Name  string `json:"name,omitempty"`
	Count int    `json:"count"`
}

// Socket is one leaked socket.
type Socket struct {
	Inode    uint64   `json:"inode"`
	Family   string   `json:"family"`
	Type     string   `json:"type"`
	Protocol string   `json:"protocol"`
	State    string   `json:"state"` // as ss(8) writes it
	Local    *string  `json:"local"` // address:port, or the name of an AF_UNIX socket
	Remote   *string  `json:"remote"`
	Age      *float64 `json:"age_s"`
	RecvQ    *uint32  `json:"recv_q"`
	SendQ    *uint32  `json:"send_q"`
	Unacked  *uint32  `json:"unacked"` // bytes of SendQ sent and not acknowledged
	// Retransmits and Probes are how often in a row data was sent again, or a
	// window or keepalive probe, without an answer.
	Retransmits *uint8   `json:"retransmits"`
	Probes      *uint8   `json:"probes"`
	LastRx      *float64 `json:"last_rx_s"`
	LastTx      *float64 `json:"last_tx_s"`
	BytesIn     *uint64  `json:"bytes_in"`
	BytesOut    *uint64  `json:"bytes_out"`
	KeepAlive   *bool    `json:"keepalive"`
	// RcvShutdown and SndShutdown: no more data will come, or can be sent
	// (shutdown(2) by either end).
	RcvShutdown *bool `json:"rcv_shutdown"`
	SndShutdown *bool `json:"snd_shutdown"`
	// PeerGone: the peer of an AF_UNIX socket was closed; nil for all others.
	PeerGone *bool `json:"peer_gone"`
	// CloseOnExec is that of the first holder's descriptor.
	CloseOnExec *bool    `json:"cloexec"`
	WaitedOn    *bool    `json:"waited_on"`
	NetNS       *uint32  `json:"netns"`
	Holders     []Holder `json:"holders"`
}

// Holder is a descriptor that refers to a socket.
type Holder struct {
	PID  uint32 `json:"pid"`
	FD   int32  `json:"fd"`
	Comm string `json:"comm"`
}
