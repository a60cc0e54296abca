package sshconn

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
)

// SFTP is an SFTP session. Its Close does not wait for the server, which is left
// to close what is open.
type SFTP struct {
	*sftp.Client

	session *ssh.Session
	heard   counter
}

// SFTP opens an SFTP session beside whatever else runs on the connection. ctx
// bounds the opening only. The error is hostapi.ErrUnsupported if the server has
// no SFTP to offer, or no second session, which is not tried for again: the first
// is in the caller's hands.
func (c *Conn) SFTP(ctx context.Context) (*SFTP, error) {
	return opened(ctx, c, "open SFTP", (*SFTP).Close, func() (*SFTP, error) {
		session, err := c.client.NewSession()
		if err != nil {
			return nil, c.unsupported(err)
		}
		stop := context.AfterFunc(ctx, func() { session.Close() }) // a server that keeps silent would stay
		defer stop()
		s := &SFTP{session: session}
		stdin, err1 := session.StdinPipe()
		stdout, err2 := session.StdoutPipe()
		err = errors.Join(err1, err2, session.RequestSubsystem("sftp"))
		if err == nil {
			s.Client, err = sftp.NewClientPipe(io.TeeReader(stdout, &s.heard), stdin, sftp.UseConcurrentWrites(true))
		}
		if err != nil {
			session.Close()
			return nil, c.unsupported(err)
		}
		return s, nil
	})
}

// Heard tells how many bytes the server has sent so far: whether a long write
// still makes progress.
func (s *SFTP) Heard() int64 { return s.heard.bytes.Load() }

// Close ends the session. The library's own would wait, behind a write that the
// server does not take.
func (s *SFTP) Close() error {
	if err := s.session.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// unsupported is what err means for SFTP, which a host need not have.
func (c *Conn) unsupported(err error) error {
	if c.Err() != nil {
		return c.explain("open SFTP", err)
	}
	return hostapi.Errorf(hostapi.KindUnsupported, "", "open SFTP: the host does not offer it: %v", err)
}

// counter counts what is written to it.
type counter struct{ bytes atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}
