package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	headerSize = 4        // bytes
	maxFrame   = 16 << 20 // bytes, the header aside
)

// misfitError is what the peer should not have said.
type misfitError struct{ text string }

func (e *misfitError) Error() string { return e.text }

func misfitf(format string, args ...any) error { return &misfitError{fmt.Sprintf(format, args...)} }

var errTooLarge = errors.New("message is larger than 16 MiB")

// frames are messages over a byte stream. After any failure but a refusal to send
// what is too large, the stream is closed: a frame may have been cut.
type frames struct {
	stream io.ReadWriteCloser
	reader *bufio.Reader

	sending sync.Mutex // held over a Write, which may block

	mu    sync.Mutex
	cause error // why no more frames can be read or written; nil: they can

	once     sync.Once
	closeErr error
}

// newFrames calls alive, if not nil, whenever bytes have come in. It does so for
// bytes rather than frames, since a large frame over a slow link is life too.
func newFrames(stream io.ReadWriteCloser, alive func()) *frames {
	var r io.Reader = stream
	if alive != nil {
		r = watched{stream, alive}
	}
	return &frames{stream: stream, reader: bufio.NewReader(r)}
}

type watched struct {
	io.Reader
	alive func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.alive()
	}
	return n, err
}

// Send writes body as one frame in one Write, so that it leaves in one packet.
// Safe for concurrent use.
func (f *frames) Send(body []byte) error {
	if len(body) > maxFrame {
		return errTooLarge
	}
	frame := make([]byte, 0, headerSize+len(body))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)))
	frame = append(frame, body...)
	f.sending.Lock()
	defer f.sending.Unlock()
	if _, err := f.stream.Write(frame); err != nil {
		return f.broken(err)
	}
	return nil
}

// Recv gives the body of the next frame. The error is io.EOF only where the
// stream ended between two frames. One caller at a time.
func (f *frames) Recv() ([]byte, error) {
	body, err := readFrame(f.reader)
	if err != nil {
		return nil, f.broken(err)
	}
	return body, nil
}

// Close closes the stream. It can be called at any time, any number of times.
func (f *frames) Close() error {
	f.once.Do(func() { f.closeErr = f.stream.Close() })
	return f.closeErr
}

// failure is why the stream broke, nil while it has not.
func (f *frames) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

func (f *frames) broken(err error) error {
	f.mu.Lock()
	if f.cause == nil {
		f.cause = err
	}
	f.mu.Unlock()
	_ = f.Close() // the stream is lost already, and err says why
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size == 0 || size > maxFrame {
		return nil, misfitf("frame header % x: a frame has 1 to %d bytes", header, maxFrame)
	}
	// The buffer grows with the bytes that come: a header alone costs the peer
	// four bytes and must not cost us 16 MiB.
	var body bytes.Buffer
	n, err := body.ReadFrom(io.LimitReader(r, int64(size)))
	if err != nil {
		return nil, err
	}
	if n < int64(size) {
		return nil, io.ErrUnexpectedEOF
	}
	return body.Bytes(), nil
}
