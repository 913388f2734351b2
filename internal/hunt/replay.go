package hunt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/recording"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// RecordedTop means the --top of the recording.
const RecordedTop = -1

// Replay makes the report of a recording again. It reads the file twice: what was
// looked up for a report was written after it was first needed.
func Replay(path string, top int, obs Observer) (*verdict.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the recording: %w", err)
	}
	defer f.Close()
	known := lookedUp{origins: replayedOrigins{}, hosts: map[question]string{}}
	if err := known.read(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the recording again: %w", err)
	}
	r, err := replay(f, top, known, obs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func replay(from io.Reader, top int, known lookedUp, obs Observer) (*verdict.Report, error) {
	file, err := recording.NewReader(from)
	if err != nil {
		return nil, err
	}
	h := file.Header
	if h.ABI != probe.ABI {
		return nil, fmt.Errorf("recorded by sockleak %s with format %d; this one reads format %d", h.Version, h.ABI, probe.ABI)
	}
	var o options
	if err := json.Unmarshal(h.Options, &o); err != nil {
		return nil, fmt.Errorf("%w: options: %w", recording.ErrFormat, err)
	}
	if top != RecordedTop {
		o.Judgement.Top = top
	}
	e := newEngine(o, h.HZ, h.Clock, known.origins, verdict.Report{
		Started: h.Started, Scope: o.scopeText(), Version: h.Version, Kernel: h.Kernel, Notes: h.Notes,
	})
	e.names.host = func(p event.ProcessKey, address netip.Addr) string { return known.hosts[question{p, address}] }
	// Judging belongs to the looks: what comes after the last is half a story.
	var last *verdict.Report
	for {
		kind, payload, err := file.Next()
		switch {
		case errors.Is(err, io.EOF) && e.last.Final:
			return last, nil
		case errors.Is(err, io.EOF):
			return unfinished(e, last, "the recording has no end: the trace was killed"), nil
		case errors.Is(err, recording.ErrTruncated):
			return unfinished(e, last, "the recording ends in the middle: this is what came before"), nil
		case err != nil:
			return nil, err
		}
		if err := e.replayFrame(kind, payload); err != nil {
			return nil, err
		}
		if kind != recording.KindTick {
			continue
		}
		last = e.report()
		if !e.last.Final {
			if err := obs.Interim(last); err != nil {
				return nil, err
			}
		}
	}
}

// unfinished is the report of a recording that stops after last, nil if there
// was no look at all.
func unfinished(e *engine, last *verdict.Report, why string) *verdict.Report {
	if last == nil {
		last = e.report()
	}
	last.Notes = append(last.Notes, why)
	return last
}

func (e *engine) replayFrame(kind recording.Kind, payload []byte) error {
	switch kind {
	case recording.KindEvent:
		e.event(payload)
	case recording.KindRow:
		e.rowRecord(payload)
	case recording.KindSnapshotBegin, recording.KindSnapshotEnd:
		if len(payload) != 8 {
			return fmt.Errorf("%w: a snapshot's time of %d bytes", recording.ErrFormat, len(payload))
		}
		t := binary.LittleEndian.Uint64(payload)
		if kind == recording.KindSnapshotBegin {
			e.begin(t)
		} else {
			e.end(t)
		}
	case recording.KindExchange, recording.KindUseExchange:
		var x exchanged
		if err := readFixed(payload, &x); err != nil {
			return err
		}
		e.exchange(better{x, kind})
	case recording.KindListener:
		var l verdict.Listener
		if err := readFixed(payload, &l); err != nil {
			return err
		}
		e.judge.Listening(l)
	case recording.KindLacking:
		var l lacking
		if err := readFixed(payload, &l); err != nil {
			return err
		}
		e.lack(l)
	case recording.KindAsked:
		var x askedFor
		if err := readFixed(payload, &x); err != nil {
			return err
		}
		e.askedFor(x)
	case recording.KindProcess:
		var d described
		if err := json.Unmarshal(payload, &d); err != nil {
			return fmt.Errorf("%w: process: %w", recording.ErrFormat, err)
		}
		e.names.add(d)
	case recording.KindTick:
		var t tick
		if err := json.Unmarshal(payload, &t); err != nil {
			return fmt.Errorf("%w: tick: %w", recording.ErrFormat, err)
		}
		e.look(t)
	}
	return nil
}

// lookedUp is what was looked up when the recording was made.
type lookedUp struct {
	origins replayedOrigins
	hosts   map[question]string // the last names: they hardly ever change
}

func (l lookedUp) read(from io.Reader) error {
	file, err := recording.NewReader(from)
	if err != nil {
		return err
	}
	for {
		kind, payload, err := file.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, recording.ErrTruncated) {
			return nil
		}
		if err != nil {
			return err
		}
		switch kind {
		case recording.KindOrigin:
			var r recorded
			if err := json.Unmarshal(payload, &r); err != nil {
				return fmt.Errorf("%w: origin: %w", recording.ErrFormat, err)
			}
			if l.origins[r.ProcessKey] == nil {
				l.origins[r.ProcessKey] = map[uint64]stack.Origin{}
			}
			l.origins[r.ProcessKey][r.Stack] = r.Origin
		case recording.KindHost:
			var h hosted
			if err := json.Unmarshal(payload, &h); err != nil {
				return fmt.Errorf("%w: host: %w", recording.ErrFormat, err)
			}
			l.hosts[question{h.ProcessKey, h.Address}] = h.Name
		}
	}
}

// replayedOrigins implements stack.Resolver with what was resolved then.
type replayedOrigins map[event.ProcessKey]map[uint64]stack.Origin

// Capture implements stack.Resolver.
func (o replayedOrigins) Capture(stack.Raw) {}

// Resolve implements stack.Resolver.
func (o replayedOrigins) Resolve(p event.ProcessKey, id uint64) stack.Origin {
	if found, ok := o[p][id]; ok {
		return found
	}
	return stack.Origin{Quality: stack.None, Reason: "the recording does not hold this stack"}
}

// Exec implements stack.Resolver.
func (o replayedOrigins) Exec(event.ProcessKey) {}

// Forget implements stack.Resolver.
func (o replayedOrigins) Forget(event.ProcessKey) {}
