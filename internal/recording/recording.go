// Package recording is the file that --record writes and replay reads: what the
// kernel said, byte for byte, and what was looked up besides, so that the same
// report can be made again on another machine, without root.
//
// A file is a gzip stream (RFC 1952) of: the eight bytes of Magic, then frames.
// A frame is its kind (one byte), the length of its payload (unsigned varint,
// encoding/binary) and the payload. The first frame is the Header.
package recording

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Magic begins every recording. Its last byte is the version of the framing.
const Magic = "SOCKLEK\x01"

// MaxPayload is the largest payload of a frame, in bytes. A tick of a machine
// with ten thousand processes is below 4 MiB.
const MaxPayload = 16 << 20

// Kind says what a frame holds.
type Kind byte

// The kinds of frames. Event and Row are records as bpf/contract.h defines them;
// the others are JSON, of types their writer defines.
const (
	KindHeader Kind = iota + 1
	KindEvent
	KindSnapshotBegin
	KindRow
	KindSnapshotEnd
	KindProcess
	KindOrigin
	KindTick
	KindExchange
	KindHost
	KindLacking
	KindAsked
	KindUseExchange
	KindListener
)

// Header says how to read the rest.
type Header struct {
	ABI     int             `json:"abi"` // version of bpf/contract.h
	HZ      uint64          `json:"hz"`  // jiffies per second
	Kernel  string          `json:"kernel"`
	Version string          `json:"version"` // of the sockleak that recorded
	Started time.Time       `json:"started"`
	Clock   uint64          `json:"clock"`   // CLOCK_MONOTONIC at Started, ns
	Options json.RawMessage `json:"options"` // what decides the report
	Notes   []string        `json:"notes"`   // of the report
}

// Errors of Reader.
var (
	ErrFormat    = errors.New("not a sockleak recording")
	ErrTruncated = errors.New("recording ends in the middle")
)

// Writer writes a recording. After the first error every call returns it.
type Writer struct {
	zip   *gzip.Writer
	buf   *bufio.Writer
	head  [1 + binary.MaxVarintLen64]byte
	fault error
}

// NewWriter writes the beginning of a recording to w. The caller closes the
// Writer, then w.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	// The fastest level: it runs beside the events.
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("start compression: %w", err)
	}
	rw := &Writer{zip: zip, buf: bufio.NewWriterSize(zip, 64<<10)}
	if _, err := rw.buf.WriteString(Magic); err != nil {
		return nil, err
	}
	return rw, rw.JSON(KindHeader, h)
}

// Frame writes one frame.
func (w *Writer) Frame(k Kind, payload []byte) error {
	if w.fault != nil {
		return w.fault
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame of %d bytes is over the limit of %d", len(payload), MaxPayload)
	}
	w.head[0] = byte(k)
	n := binary.PutUvarint(w.head[1:], uint64(len(payload)))
	if _, w.fault = w.buf.Write(w.head[:1+n]); w.fault == nil {
		_, w.fault = w.buf.Write(payload)
	}
	return w.fault
}

// JSON writes one frame that holds v.
func (w *Writer) JSON(k Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame %d: %w", k, err)
	}
	return w.Frame(k, payload)
}

// Flush hands everything written so far to the file, so that a crash loses no
// more than what comes after.
func (w *Writer) Flush() error {
	if w.fault == nil {
		w.fault = w.buf.Flush()
	}
	if w.fault == nil {
		w.fault = w.zip.Flush()
	}
	return w.fault
}

// Close ends the recording.
func (w *Writer) Close() error {
	if err := w.Flush(); err != nil {
		return err
	}
	return w.zip.Close()
}

// Reader reads a recording frame by frame.
type Reader struct {
	Header  Header
	buf     *bufio.Reader
	payload []byte
}

// NewReader reads the beginning of a recording. ErrFormat: it is none.
func NewReader(r io.Reader) (*Reader, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	rd := &Reader{buf: bufio.NewReaderSize(zip, 64<<10)}
	var magic [len(Magic)]byte
	if _, err := io.ReadFull(rd.buf, magic[:]); err != nil || string(magic[:]) != Magic {
		return nil, ErrFormat
	}
	kind, payload, err := rd.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: no header: %w", ErrFormat, err)
	}
	if kind != KindHeader {
		return nil, fmt.Errorf("%w: it begins with frame %d", ErrFormat, kind)
	}
	if err := json.Unmarshal(payload, &rd.Header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	return rd, nil
}

// Next returns the next frame; its payload is valid until the next call. At the
// end it returns io.EOF, or ErrTruncated when the writer did not finish.
func (r *Reader) Next() (Kind, []byte, error) {
	kind, err := r.buf.ReadByte()
	if err != nil {
		return 0, nil, endOf(err, io.EOF)
	}
	size, err := binary.ReadUvarint(r.buf)
	if err != nil {
		return 0, nil, endOf(err, ErrTruncated)
	}
	if size > MaxPayload {
		return 0, nil, fmt.Errorf("%w: frame of %d bytes", ErrFormat, size)
	}
	if uint64(cap(r.payload)) < size {
		r.payload = make([]byte, size)
	}
	r.payload = r.payload[:size]
	if _, err := io.ReadFull(r.buf, r.payload); err != nil {
		return 0, nil, endOf(err, ErrTruncated)
	}
	return Kind(kind), r.payload, nil
}

// endOf tells the end of the file, which means atEOF here, from damage to it.
func endOf(err, atEOF error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		// gzip's end marks are missing: the writer was killed.
		return ErrTruncated
	case errors.Is(err, io.EOF):
		return atEOF
	}
	return fmt.Errorf("read the recording: %w", err)
}
