// Package sshconn keeps one SSH connection to one host: it proves the host's
// key, offers the user's keys, notices when the peer is gone, runs commands and
// opens SFTP. It never asks for a terminal on the host. It reads no ssh_config,
// and knows neither the way to the host nor what runs there.
package sshconn

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
	"vxorch/remote/hostkeys"
	"vxorch/remote/sshauth"
)

// Target says which host, and by which keys.
type Target struct {
	Name    string // the inventory's name of the host, for hints
	Address string // a name, an IPv4 or an IPv6 address, without brackets
	Port    int    // 0: 22
	User    string // empty: that of Options

	Identity       []string // private key files, offered first and in this order; one that cannot be used is an error
	MaybeIdentity  []string // the same where one that cannot be used is left out; counts where Identity is empty. Both empty: the usual ones of ~/.ssh, where they exist
	Certificates   []string // OpenSSH certificates for these keys, beside KEY-cert.pub
	IdentitiesOnly bool     // of the agent's keys, offer those that are configured
	Agent          string   // socket of the ssh-agent; empty: that of Options; "none": none

	KnownHosts []string // files; empty: the user's and the system's. Missing ones are empty
	KeyName    string   // under which known_hosts has the host; empty: address and port
	HostKey    string   // pinned SHA256:… fingerprint, which decides alone; empty: known_hosts decides
	AcceptNew  bool     // write the key of a host that known_hosts does not have into the first of its files
}

// Options is the world around a connection. The zero value works, without agent.
type Options struct {
	User              string           // login name for targets without one; empty: the caller's
	AgentSocket       string           // of the ssh-agent; empty: none
	Home              string           // what ~ stands for; empty: the caller's home directory
	Secrets           *sshauth.Secrets // what the user is asked; nil: nothing
	HostKeys          *hostkeys.Reader // of known_hosts; nil: one of its own
	DialTimeout       time.Duration    // for the TCP connection; 0: 10 s
	HandshakeTimeout  time.Duration    // from there until the host has let us in, the time aside in which the user is asked; 0: 15 s
	KeepaliveInterval time.Duration    // between two questions whether the peer is there; 0: 5 s
	KeepaliveTimeout  time.Duration    // of silence after such a question, until the connection counts as lost; 0: 10 s
	Log               *slog.Logger     // nil: nowhere
	// Dialer makes the connection underneath; nil: net.Dialer.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	// Turn waits until a handshake may begin and gives what is to be called at
	// its end, dropped if the server hung up on it; nil: at once.
	Turn func(ctx context.Context) (done func(dropped bool), err error)
}

// Conn is an SSH connection. Its methods are safe for concurrent use.
type Conn struct {
	client *ssh.Client
	wire   *countingConn

	done    chan struct{}
	running sync.WaitGroup

	mu  sync.Mutex
	err error // why done is closed
}

var errClosed = errors.New("the connection was closed")

const lostBecause = "the connection was lost: "

func newConn(client *ssh.Client, wire *countingConn, opts Options) *Conn {
	c := &Conn{client: client, wire: wire, done: make(chan struct{})}
	c.running.Go(func() {
		c.fail(wire.lost(client.Wait()))
		close(c.done)
	})
	if opts.KeepaliveInterval > 0 {
		c.running.Go(func() { c.keepalive(opts.KeepaliveInterval, opts.KeepaliveTimeout) })
	}
	return c
}

// Done is closed when the connection is dead, of itself or by Close.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection is dead; nil while it lives.
func (c *Conn) Err() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection with all its sessions and waits for its goroutines.
func (c *Conn) Close() error {
	// Who closes it since a session has ended may do so before the end of the
	// connection itself is known.
	if cause := c.wire.broken(); cause != nil {
		c.fail(c.wire.lost(cause))
	}
	c.fail(lost("%v", errClosed))
	err := c.wire.Close()
	c.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// fail keeps the first reason.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// keepalive asks the peer every interval whether it is there, and closes the
// connection when nothing at all came for timeout: a reply alone may be stuck
// behind an upload over a slow link. Closing the net.Conn is the one thing that
// frees calls which wait for a peer that is gone.
func (c *Conn) keepalive(interval, timeout time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
		}()
		if !c.alive(answered, timeout) {
			c.fail(lost(lostBecause+"nothing came for %s", timeout))
			c.wire.Close()
		}
		<-answered
	}
}

// alive waits for answered, as long as something comes in every timeout.
func (c *Conn) alive(answered <-chan struct{}, timeout time.Duration) bool {
	for {
		before := c.wire.received.Load()
		select {
		case <-answered:
			return true
		case <-time.After(timeout):
			if c.wire.received.Load() == before {
				return false
			}
		}
	}
}

// countingConn counts what it receives, and acknowledges it at once. It keeps
// what broke it.
type countingConn struct {
	net.Conn
	peer     string       // who is at its other end; empty: the host
	received atomic.Int64 // bytes

	mu    sync.Mutex
	cause error // nil: it was not the other end
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	acknowledge(c.Conn)
	c.note(err)
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

func (c *countingConn) note(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = err
	}
}

func (c *countingConn) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// lost is the error of the connection when it ended with err.
func (c *countingConn) lost(err error) *hostapi.Error {
	var errno syscall.Errno
	var jump *hostapi.Error
	if cause := c.broken(); cause != nil {
		err = cause
	}
	switch {
	case errors.As(err, &jump):
		why, _ := strings.CutPrefix(jump.Message, lostBecause)
		return lost("the connection to the jump host was lost: %s", why)
	case err == nil, errors.Is(err, io.EOF):
		return lost(lostBecause+"%s closed it", cmp.Or(c.peer, "the host"))
	case errors.As(err, &errno):
		return lost(lostBecause+"%v", errno)
	}
	return lost(lostBecause+"%s", clean(err.Error()))
}
