package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// halves reads from one thing and writes to another.
type halves struct {
	io.Reader
	io.Writer
	closed bool
}

func (h *halves) Close() error { h.closed = true; return nil }

// countingWriter notes each Write.
type countingWriter struct{ writes [][]byte }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

func TestFrameIsLengthAndBodyInOneWrite(t *testing.T) {
	w := &countingWriter{}
	if err := newFrames(&halves{Writer: w}, nil).Send([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if len(w.writes) != 1 || string(w.writes[0]) != "\x00\x00\x00\x05hello" {
		t.Errorf("writes: %q, want one of the header and the body", w.writes)
	}
}

func TestTooLargeMessageIsRefusedAndTheStreamGoesOn(t *testing.T) {
	w := &countingWriter{}
	h := &halves{Writer: w}
	f := newFrames(h, nil)
	if err := f.Send(make([]byte, maxFrame+1)); !errors.Is(err, errTooLarge) {
		t.Errorf("Send of %d bytes: %v, want errTooLarge", maxFrame+1, err)
	}
	if len(w.writes) != 0 || h.closed {
		t.Errorf("%d writes, closed: %v; want the stream untouched", len(w.writes), h.closed)
	}
	if err := f.Send(make([]byte, maxFrame)); err != nil {
		t.Errorf("Send of %d bytes: %v", maxFrame, err)
	}
}

func TestRecv(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		err            error  // the very error
		text           string // or part of its text
	}{
		{name: "a frame", in: "\x00\x00\x00\x02{}", want: "{}"},
		{name: "nothing", in: "", err: io.EOF},
		{name: "half a header", in: "\x00\x00", err: io.ErrUnexpectedEOF},
		{name: "a header alone", in: "\x00\x00\x00\x02", err: io.ErrUnexpectedEOF},
		{name: "half a body", in: "\x00\x00\x00\x02{", err: io.ErrUnexpectedEOF},
		{name: "an empty body", in: "\x00\x00\x00\x00", text: "frame header 00 00 00 00"},
		{name: "one byte too many", in: "\x01\x00\x00\x01", text: "frame header 01 00 00 01"},
		{name: "a shell's greeting", in: "Last login: today", text: "frame header 4c 61 73 74"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &halves{Reader: strings.NewReader(tc.in)}
			f := newFrames(h, nil)
			got, err := f.Recv()
			if string(got) != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			switch {
			case tc.err != nil && err != tc.err:
				t.Errorf("error %v, want %v", err, tc.err)
			case tc.text != "" && (err == nil || !strings.Contains(err.Error(), tc.text)):
				t.Errorf("error %v, want one with %q", err, tc.text)
			case tc.err == nil && tc.text == "" && err != nil:
				t.Errorf("error %v", err)
			}
			if (err != nil) != h.closed || f.failure() != err {
				t.Errorf("after %v: closed %v, failure %v", err, h.closed, f.failure())
			}
		})
	}
}

func TestHeaderAloneAllocatesLittle(t *testing.T) {
	header := binary.BigEndian.AppendUint32(nil, maxFrame)
	for _, in := range [][]byte{header, {0xff, 0xff, 0xff, 0xff}} {
		const rounds = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			if _, err := readFrame(bytes.NewReader(in)); err == nil {
				t.Fatalf("readFrame(% x): no error", in)
			}
		}
		runtime.ReadMemStats(&after)
		if perFrame := (after.TotalAlloc - before.TotalAlloc) / rounds; perFrame > 64<<10 {
			t.Errorf("readFrame(% x) allocates %d bytes", in, perFrame)
		}
	}
}

func TestCloseIsIdempotent(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	f := newFrames(a, nil)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := f.Send([]byte("late")); err == nil {
		t.Error("Send on a closed stream: no error")
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		body, err := readFrame(r)
		if err != nil {
			if body != nil {
				t.Errorf("%d bytes with error %v", len(body), err)
			}
			return
		}
		if len(body) == 0 || len(body) > maxFrame {
			t.Errorf("body of %d bytes", len(body))
		}
		// What was read is what a sender of this body writes.
		w := &countingWriter{}
		if err := newFrames(&halves{Writer: w}, nil).Send(body); err != nil {
			t.Fatal(err)
		}
		if read := in[:len(in)-r.Len()]; !bytes.Equal(w.writes[0], read) {
			t.Errorf("sent again: %q, was %q", w.writes[0], read)
		}
	})
}
