// Package remote is the front door to a host: Dial connects by SSH, brings the
// helper up and hands back the host as a hostapi.Host. How each part works is
// the matter of sshconn, push and wire.
package remote

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/push"
	"vxorch/remote/sshconn"
	"vxorch/remote/wire"
)

// Target says which host, and by which keys.
type Target = sshconn.Target

// Sudo says how a user other than root becomes it on the host.
type Sudo = push.Sudo

// The ways to become root. Root itself needs none.
const (
	SudoAuto  = push.SudoAuto
	SudoAsk   = push.SudoAsk
	SudoNever = push.SudoNever
)

// Options is the world around the connections. The zero value works, without agent.
type Options struct {
	User        string       // login name for targets without one; empty: the caller's
	Home        string       // what ~ stands for; empty: the caller's home directory
	AgentSocket string       // of the ssh-agent; empty: none
	Log         *slog.Logger // nil: nowhere
	// Lease is how long the helper and the controller live on without a sign of
	// each other; 0: 15 s. Each gives one every third of it.
	Lease time.Duration
	// Dialer makes the TCP connection; nil: net.Dialer.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	Bundle *push.Bundle // the helpers; nil: the embedded ones
	Sudo   Sudo         // empty: SudoAuto
	// SudoPassword is what sudo wants to know, asked for when it does. Needed for
	// SudoAsk.
	SudoPassword func(context.Context) (string, error)
}

// Ready tells whether this program carries the helpers that Dial starts on the
// hosts, so that it need not be learnt from each of them.
func Ready() error { return push.Embedded() }

// Dial connects to t and starts the helper there. Close of the Host ends the
// helper and the connection; if either is lost, calls fail with ErrLost and the
// reason. ctx bounds Dial only; every error is a *hostapi.Error.
func Dial(ctx context.Context, t Target, opts Options) (hostapi.Host, error) {
	if opts.Lease == 0 {
		opts.Lease = 15 * time.Second
	}
	beat := opts.Lease / 3
	conn, err := sshconn.Dial(ctx, t, sshconn.Options{
		User: opts.User, Home: opts.Home, AgentSocket: opts.AgentSocket, Log: opts.Log, Dialer: opts.Dialer,
		KeepaliveInterval: beat, KeepaliveTimeout: opts.Lease - beat,
	})
	if err != nil {
		return nil, err
	}
	stream, err := push.Start(ctx, conn, push.Options{Bundle: opts.Bundle, Lease: opts.Lease, Sudo: opts.Sudo, Password: opts.SudoPassword, Log: opts.Log})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return wire.NewClient(&session{stream, conn}, wire.ClientOptions{Heartbeat: beat, Reason: stream.Reason}), nil
}

// session is a helper's stream that takes its connection along when it closes,
// which frees whoever still reads or writes.
type session struct {
	*push.Stream
	conn *sshconn.Conn
}

// Close does not wait for the helper's end. It is asked to close before, and has
// given back all it held when it answers: to see it off would cost another round
// trip.
func (s *session) Close() error { return errors.Join(s.Release(), s.conn.Close()) }
