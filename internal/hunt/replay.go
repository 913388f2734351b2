package hunt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"sockleak/internal/event"
	"sockleak/internal/probe"
	"sockleak/internal/recording"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// RecordedTop means the --top of the recording.
const RecordedTop = -1

// Replay makes the report of a recording again. It reads the file twice: origins
// were resolved, and so written, after they were first needed.
func Replay(path string, top int, obs Observer) (*verdict.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the recording: %w", err)
	}
	defer f.Close()
	origins := replayedOrigins{}
	if err := origins.read(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the recording again: %w", err)
	}
	r, err := replay(f, top, origins, obs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func replay(from io.Reader, top int, origins replayedOrigins, obs Observer) (*verdict.Report, error) {
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
	e := newEngine(o, h.HZ, h.Clock, origins, verdict.Report{
		Started: h.Started, Scope: o.scopeText(), Version: h.Version, Kernel: h.Kernel, Notes: h.Notes,
	})
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
	case recording.KindExchange:
		if len(payload) != exchangedSize {
			return fmt.Errorf("%w: an exchanged stack of %d bytes", recording.ErrFormat, len(payload))
		}
		e.exchange(readExchanged(payload))
	case recording.KindAsked:
		if len(payload) != askedForSize {
			return fmt.Errorf("%w: a request of %d bytes", recording.ErrFormat, len(payload))
		}
		e.askedFor(readAskedFor(payload))
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

// replayedOrigins implements stack.Resolver with what was resolved when the
// recording was made.
type replayedOrigins map[event.ProcessKey]map[uint64]stack.Origin

func (o replayedOrigins) read(from io.Reader) error {
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
		if kind != recording.KindOrigin {
			continue
		}
		var r recorded
		if err := json.Unmarshal(payload, &r); err != nil {
			return fmt.Errorf("%w: origin: %w", recording.ErrFormat, err)
		}
		if o[r.ProcessKey] == nil {
			o[r.ProcessKey] = map[uint64]stack.Origin{}
		}
		o[r.ProcessKey][r.Stack] = r.Origin
	}
}

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
