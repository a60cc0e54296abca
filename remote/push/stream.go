package push

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconn"
)

// endGrace is how long a helper may take to end by itself.
const endGrace = 2 * time.Second

// Stream is the standard input and output of a helper that runs on a host, from
// behind its greeting on.
type Stream struct {
	Cached  bool   // the host had the helper already
	SFTP    bool   // the helper was sent, by SFTP
	Command string // the command line that started it, as the host got it

	session *sshconn.Session
	conn    *sshconn.Conn
	out     *bufio.Reader
	over    atomic.Bool // out has ended
}

// Read reads what the helper writes.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	if err != nil {
		s.over.Store(true)
	}
	return n, err
}

// Write writes what the helper reads.
func (s *Stream) Write(p []byte) (int, error) { return s.session.Stdin.Write(p) }

// Release ends the helper's input, which makes it end. It waits for that only if
// the helper has ended its output already, for Reason's sake.
func (s *Stream) Release() error {
	if s.over.Load() {
		return s.Close()
	}
	return s.endInput()
}

func (s *Stream) endInput() error {
	err := s.session.Stdin.Close()
	if errors.Is(err, io.EOF) || s.conn.Err() != nil { // it has ended already
		return nil
	}
	return err
}

// Close ends the helper's input, which makes it end, gives it two seconds for
// that, and closes the session.
func (s *Stream) Close() error {
	err := s.endInput()
	select {
	case <-s.session.Done():
	case <-s.conn.Done():
	case <-time.After(endGrace):
	}
	return errors.Join(err, s.session.Close())
}

// Stderr gives the beginning and the end of what the helper wrote to its
// standard error, without control characters.
func (s *Stream) Stderr() string { return s.session.Stderr() }

// Reason says what ended a stream that has ended, waiting for it to be known two
// seconds at most: that the connection died and why, or that the helper ended
// and how, and what the helper wrote to its standard error. It is of
// hostapi.KindLost.
func (s *Stream) Reason() error {
	select {
	case <-s.session.Done():
	case <-time.After(endGrace):
	}
	what := "the helper ended: " + ending(s.session)
	if dead := s.conn.Err(); dead != nil && ended(s.session, dead) {
		what = dead.Error()
	}
	if text := strings.TrimSpace(s.Stderr()); text != "" {
		what += "; its stderr: " + text
	}
	return hostapi.Errorf(hostapi.KindLost, "", "%s", what)
}

// ended tells whether a session ended with its connection, which died of dead,
// and not before it.
func ended(session *sshconn.Session, dead error) bool {
	select {
	case <-session.Done():
		return session.Wait() == dead
	default:
		return true
	}
}
