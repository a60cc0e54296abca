package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
)

// A server counts a session as open for a moment after it has ended: where it
// allows a single one (MaxSessions 1), the next is refused until then.
const (
	sessionRetries = 6
	sessionPause   = 10 * time.Millisecond // before the first retry; doubled each time
)

// Session is a command that runs on the host.
type Session struct {
	Stdin  io.WriteCloser // Close while a Write is under way closes the session; what frees the Write is the command or Conn.Close
	Stdout io.Reader

	ssh    *ssh.Session
	stderr tail
	ended  chan struct{}
	err    error // set before ended is closed
}

// Start runs command by the user's login shell, without a terminal. ctx bounds
// the start only. A server does not end the command when the session is closed
// or lost: it has to end by itself when its standard input does.
func (c *Conn) Start(ctx context.Context, command string) (*Session, error) {
	return c.StartWatched(ctx, command, io.Discard)
}

// StartWatched is Start, with watch being written to what the command writes to
// its standard error, as it comes. It must not block.
func (c *Conn) StartWatched(ctx context.Context, command string, watch io.Writer) (*Session, error) {
	return opened(ctx, c, "start a command", (*Session).Close, func() (*Session, error) {
		session, err := c.open()
		if err != nil {
			return nil, err
		}
		s := &Session{ssh: session, ended: make(chan struct{})}
		session.Stderr = io.MultiWriter(&s.stderr, watch)
		pipe, err := session.StdinPipe()
		s.Stdin = &input{pipe: pipe, session: s}
		if err == nil {
			s.Stdout, err = session.StdoutPipe()
		}
		if err == nil {
			err = session.Start(command)
		}
		if err != nil {
			session.Close()
			return nil, c.explain("start a command", err)
		}
		go func() {
			defer close(s.ended)
			s.err = c.outcome(session.Wait())
		}()
		return s, nil
	})
}

// opened gives what open gives, or returns when ctx ends; a late result is
// closed then. A call to a peer that is gone ends with the connection only.
func opened[T any](ctx context.Context, c *Conn, act string, closeIt func(T) error, open func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := open()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
	}
	go func() {
		if r := <-results; r.err == nil {
			_ = closeIt(r.value)
		}
	}()
	var none T
	return none, canceled(ctx, act)
}

// open opens a session's channel.
func (c *Conn) open() (*ssh.Session, error) {
	for retries := 0; ; retries++ {
		session, err := c.client.NewSession()
		if err == nil {
			return session, nil
		}
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) {
			return nil, c.explain("open a session", err)
		}
		if retries == sessionRetries {
			return nil, hostapi.Errorf(hostapi.KindUnsupported, "is MaxSessions 0 in the host's sshd_config?", "open a session: the host refuses: %v", refused)
		}
		time.Sleep(sessionPause << retries)
	}
}

// explain gives err its kind: a dead connection says why it died.
func (c *Conn) explain(act string, err error) error {
	if dead := c.Err(); dead != nil {
		return lost("%s: %v", act, dead)
	}
	if dropped(err) {
		return lost("%s: %v", act, err)
	}
	return hostapi.Errorf(hostapi.KindHelper, "", "%s: %v", act, err)
}

// outcome says how a command ended; nil: with exit status 0.
func (c *Conn) outcome(err error) error {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	if errors.As(err, &missing) {
		// That a connection has ended is known a moment after its sessions have.
		select {
		case <-c.done:
		case <-time.After(time.Second):
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Signal() != "":
		return fmt.Errorf("killed by signal %s", clean(exit.Signal()))
	case errors.As(err, &exit):
		return &ExitError{Status: exit.ExitStatus()}
	case c.Err() != nil:
		return c.Err()
	case errors.As(err, &missing):
		return errors.New("ended without an exit status")
	}
	return err
}

// ExitError is a command's exit status other than 0.
type ExitError struct{ Status int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Status) }

// input is a command's standard input. The library's own must not be closed
// while it is written to, yet a Write may block for as long as the peer likes.
type input struct {
	pipe    io.WriteCloser
	session *Session
	writing sync.Mutex
}

func (i *input) Write(p []byte) (int, error) {
	i.writing.Lock()
	defer i.writing.Unlock()
	return i.pipe.Write(p)
}

func (i *input) Close() error {
	if !i.writing.TryLock() {
		return i.session.Close()
	}
	defer i.writing.Unlock()
	return i.pipe.Close()
}

// Stderr gives the beginning and the end of what the command wrote to its
// standard error so far, at most 8 KiB, without control characters.
func (s *Session) Stderr() string { return s.stderr.String() }

// Done is closed when the command has ended and Wait returns at once.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Wait waits for the end of the command: nil, an *ExitError or what else went
// wrong. Standard output may have unread data still.
func (s *Session) Wait() error {
	<-s.ended
	return s.err
}

// Close ends the session without waiting for the command. A server holds on to
// it for as long as the command leaves input unread.
func (s *Session) Close() error {
	if err := s.ssh.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
