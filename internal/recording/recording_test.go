package recording

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"
)

type frame struct {
	Kind    Kind
	Payload string
}

func write(t *testing.T, frames []frame) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{ABI: 3, HZ: 250, Started: time.Unix(1, 0).UTC(), Options: []byte(`{"a":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.Frame(f.Kind, []byte(f.Payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(file []byte) (*Reader, []frame, error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	var frames []frame
	for {
		k, p, err := r.Next()
		if err != nil {
			return r, frames, err
		}
		frames = append(frames, frame{k, string(p)})
	}
}

func TestRoundTrip(t *testing.T) {
	want := []frame{{KindEvent, "abc"}, {KindTick, "{}"}, {KindRow, ""}}
	r, got, err := read(write(t, want))
	if !errors.Is(err, io.EOF) {
		t.Fatalf("end: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("frames\n got %v\nwant %v", got, want)
	}
	if r.Header.ABI != 3 || r.Header.HZ != 250 || string(r.Header.Options) != `{"a":1}` {
		t.Errorf("header %+v", r.Header)
	}
}

// A recording cut anywhere gives a prefix of its frames and says it was cut.
func TestTruncated(t *testing.T) {
	want := []frame{{KindEvent, "abcdefgh"}, {KindTick, "{}"}, {KindEvent, "xyz"}}
	file := write(t, want)
	for n := range len(file) {
		_, got, err := read(file[:n])
		if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d of %d: %v", n, len(file), err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("cut at %d: frame %d is %v", n, i, got[i])
			}
		}
	}
}

func TestNotARecording(t *testing.T) {
	for _, file := range []string{"", "hello", "\x1f\x8b"} {
		if _, _, err := read([]byte(file)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", file, err)
		}
	}
}

type fullDisk struct{ left int }

var errFull = errors.New("no space left on device")

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.left {
		n := d.left
		d.left = 0
		return n, errFull
	}
	d.left -= len(p)
	return len(p), nil
}

func TestDiskFull(t *testing.T) {
	w, err := NewWriter(&fullDisk{left: 100}, Header{})
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 4096)
	for i := range payload {
		payload[i] = byte(i * i >> 3)
	}
	var first error
	for range 1000 {
		if first = w.Frame(KindEvent, payload); first != nil {
			break
		}
	}
	if first == nil {
		first = w.Flush()
	}
	if !errors.Is(first, errFull) {
		t.Fatalf("first error: %v", first)
	}
	if err := w.Frame(KindEvent, payload); !errors.Is(err, errFull) {
		t.Errorf("after the error: %v", err)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("close: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{})
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(w.Frame(KindEvent, []byte("abc")), w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, frames, err := read(file)
		if err == nil {
			t.Fatalf("%d frames and no end", len(frames))
		}
	})
}
