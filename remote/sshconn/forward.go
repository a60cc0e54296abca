package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
)

// Forward connects to address from the host, for a connection through it. It
// returns when ctx ends. Close of the connection takes effect at once, also
// when the host is gone.
func (c *Conn) Forward(ctx context.Context, address string) (net.Conn, error) {
	return opened(ctx, c, "connect to "+address, net.Conn.Close, func() (net.Conn, error) {
		channel, err := c.client.Dial("tcp", address)
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			return newForwarded(channel, c), nil
		case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
			return nil, hostapi.Errorf(hostapi.KindUnreachable, "AllowTcpForwarding in the jump host's sshd_config has to allow it",
				"connect to %s: the jump host may not forward connections: %s", address, clean(refused.Message))
		case errors.As(err, &refused):
			return nil, hostapi.Errorf(hostapi.KindUnreachable, "is the host up, and can the jump host reach it?",
				"connect to %s: the jump host gets no connection: %s", address, clean(refused.Message))
		}
		return nil, c.explain("connect to "+address, err)
	})
}

// forwarded is a connection through a host. The library's own knows no
// deadlines, and its Read ends when the host answers a Close, which one that is
// gone does not.
type forwarded struct {
	net.Conn
	received  *io.PipeReader
	closeOnce sync.Once
}

// endNotice is how long the end of a forwarded connection waits for whether its
// host has ended, too: that is the better reason.
const endNotice = 100 * time.Millisecond

func newForwarded(channel net.Conn, host *Conn) *forwarded {
	received, writer := io.Pipe()
	go func() {
		_, err := io.Copy(writer, channel)
		select {
		case <-host.Done():
			err = host.Err()
		case <-time.After(endNotice):
		}
		writer.CloseWithError(err) // nil: EOF
	}()
	return &forwarded{Conn: channel, received: received}
}

func (f *forwarded) Read(p []byte) (int, error) { return f.received.Read(p) }

func (f *forwarded) Close() error {
	f.closeOnce.Do(func() {
		f.received.CloseWithError(net.ErrClosed)
		go f.Conn.Close() // which a host that is gone may hold up
	})
	return nil
}
