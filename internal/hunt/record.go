package hunt

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/recording"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// recorded is a resolved stack, as a recording keeps it.
type recorded struct {
	event.ProcessKey
	Stack  uint64       `json:"stack"`
	Origin stack.Origin `json:"origin"`
}

// hosted is what a process calls an address, as a recording keeps it.
type hosted struct {
	event.ProcessKey
	Address netip.Addr `json:"address"`
	Name    string     `json:"name"`
}

// question asks for the name of an address.
type question struct {
	process event.ProcessKey
	address netip.Addr
}

// exchanged is a socket, or a use of one, for which there is a better stack than the
// event had. In a recording its fields follow each other, little-endian.
type exchanged struct {
	Process      event.ProcessKey
	Inode, Birth uint64 // Birth is the time of the event
	Call, Lesser uint64 // see event.Event; Lesser is the stack it had
	Stack        uint64
}

// better is an exchanged with what it is of: recording.KindExchange for the making of
// a socket, KindUseExchange for a use.
type better struct {
	exchanged
	of recording.Kind
}

// betterFor is the better stack of an event.
func betterFor(ev *event.Event, lesser, stack uint64) better {
	b := better{exchanged{
		Process: event.ProcessKey{PID: ev.PID, Start: ev.Start}, Inode: ev.Inode, Birth: ev.Time,
		Call: ev.Call, Lesser: lesser, Stack: stack,
	}, recording.KindExchange}
	if ev.Kind == event.Use {
		b.of = recording.KindUseExchange
	}
	return b
}

// lacking is a socket for which there is none, recorded in the same way.
type lacking struct {
	Inode, Birth uint64
	Why          event.Lack
}

// fixed writes a frame that holds v, which has a fixed size.
func (r *recorder) fixed(k recording.Kind, v any) {
	if r.w == nil || r.fault != nil {
		return
	}
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		r.fault = fmt.Errorf("encode frame %d: %w", k, err)
		return
	}
	r.frame(k, b)
}

// readFixed reads what fixed wrote.
func readFixed(payload []byte, to any) error {
	n, err := binary.Decode(payload, binary.LittleEndian, to)
	if err != nil || n != len(payload) {
		return fmt.Errorf("%w: %T of %d bytes", recording.ErrFormat, to, len(payload))
	}
	return nil
}

// recorder writes a recording. When that fails, a full disk for instance, the
// trace goes on without, and the report says so.
type recorder struct {
	w     *recording.Writer // nil: nothing is recorded
	fault error
	// written are the origins that are in the file already.
	written map[event.ProcessKey]map[uint64]bool
	// hosts are the names that are in the file already.
	hosts map[question]string
}

func newRecorder(w io.Writer, o options, hz, clock uint64, base verdict.Report) (*recorder, error) {
	r := &recorder{written: map[event.ProcessKey]map[uint64]bool{}, hosts: map[question]string{}}
	if w == nil {
		return r, nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode the options: %w", err)
	}
	r.w, err = recording.NewWriter(w, recording.Header{
		ABI: probe.ABI, HZ: hz, Kernel: base.Kernel, Version: base.Version,
		Started: base.Started, Clock: clock, Options: text, Notes: base.Notes,
	})
	if err != nil {
		return nil, fmt.Errorf("begin the recording: %w", err)
	}
	return r, nil
}

func (r *recorder) frame(k recording.Kind, payload []byte) {
	if r.w != nil && r.fault == nil {
		r.fault = r.w.Frame(k, payload)
	}
}

func (r *recorder) json(k recording.Kind, v any) {
	if r.w != nil && r.fault == nil {
		r.fault = r.w.JSON(k, v)
	}
}

func (r *recorder) time(k recording.Kind, t uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], t)
	r.frame(k, b[:])
}

// origin keeps a stack that a report needs. It is resolved once: the frames of a
// process don't change.
func (r *recorder) origin(p event.ProcessKey, id uint64, o stack.Origin) {
	if r.w == nil || r.written[p][id] {
		return
	}
	if r.written[p] == nil {
		r.written[p] = map[uint64]bool{}
	}
	r.written[p][id] = true
	r.json(recording.KindOrigin, recorded{ProcessKey: p, Stack: id, Origin: o})
}

// host keeps the name of an address that a report needs, and again when it has
// changed.
func (r *recorder) host(p event.ProcessKey, address netip.Addr, name string) {
	q := question{p, address}
	if r.w == nil || r.hosts[q] == name {
		return
	}
	r.hosts[q] = name
	r.json(recording.KindHost, hosted{ProcessKey: p, Address: address, Name: name})
}

func (r *recorder) flush() {
	if r.w != nil && r.fault == nil {
		r.fault = r.w.Flush()
	}
}

func (r *recorder) close() error {
	if r.w == nil {
		return nil
	}
	if r.fault != nil {
		return r.fault
	}
	return r.w.Close()
}
