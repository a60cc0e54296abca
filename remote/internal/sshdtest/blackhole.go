package sshdtest

import (
	"context"
	"net"
	"sync"
)

// BlackHole dials connections that Open turns into ones to a peer that is gone:
// what is written vanishes and nothing comes any more.
type BlackHole struct {
	mu   sync.Mutex
	open chan struct{}
}

// Dial is the Dialer of an SSH connection.
func (b *BlackHole) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &holed{Conn: conn, open: b.opened(), closed: make(chan struct{})}, nil
}

// Open lets everything vanish from now on.
func (b *BlackHole) Open() { close(b.opened()) }

func (b *BlackHole) opened() chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = make(chan struct{})
	}
	return b.open
}

type holed struct {
	net.Conn
	open      chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
}

func (c *holed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.open:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *holed) Write(p []byte) (int, error) {
	select {
	case <-c.open:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

func (c *holed) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
