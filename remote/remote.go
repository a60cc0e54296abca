// Package remote is the front door to a host: Dial connects by SSH, brings the
// helper up and hands back the host as a hostapi.Host. How each part works is
// the matter of route, sshconn, push and wire.
package remote

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/push"
	"vxorch/remote/route"
	"vxorch/remote/sshauth"
	"vxorch/remote/sshconn"
	"vxorch/remote/wire"
)

// Target says which host, and by which keys; zero values leave the choice to
// ssh_config.
type Target = route.Target

// Sudo says how a user other than root becomes it on the host.
type Sudo = push.Sudo

// The ways to become root. Root itself needs none.
const (
	SudoAuto  = push.SudoAuto
	SudoAsk   = push.SudoAsk
	SudoNever = push.SudoNever
)

// Options is the world around the connections. The zero value works, without
// agent and ssh_config.
type Options struct {
	User        string           // login name where neither target nor ssh_config has one; empty: the caller's
	Home        string           // what ~ stands for, and whose ssh_config counts; empty: the caller's home directory, and no ssh_config
	ConfigFile  string           // read in place of the user's and the system's ssh_config; "none": none is read
	AgentSocket string           // of the ssh-agent; empty: none
	Secrets     *sshauth.Secrets // what the user is asked; nil: nothing
	EndMasters  bool             // an ssh that connects for a target with OpenSSH ends with its connection, whatever Persist says
	Log         *slog.Logger     // nil: nowhere
	// Lab is whose work this is, for who looks at the processes on a host; empty:
	// no lab's.
	Lab string
	// Lease is how long the helper and the controller live on without a sign of
	// each other, unless ssh_config has another ServerAliveInterval; 0: 15 s. Each
	// gives one every third of it.
	Lease time.Duration
	// Dialer makes the TCP connections; nil: net.Dialer.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	Bundle *push.Bundle // the helpers; nil: the embedded ones
	Sudo   Sudo         // of Dial, the function; empty: SudoAuto
	// SudoPassword is what sudo wants to know, asked for when it does. Needed for
	// SudoAsk.
	SudoPassword func(context.Context) (string, error)
}

// Ready tells whether this program carries the helpers that Dial starts on the
// hosts, so that it need not be learnt from each of them.
func Ready() error { return push.Embedded() }

// Dialer connects to the hosts of one run: what they share, jump hosts and the
// user's answers among it, is there once. Safe for concurrent use.
type Dialer struct {
	opts    Options
	network *route.Network
}

// NewDialer gives a dialer into the world of opts.
func NewDialer(opts Options) *Dialer {
	return &Dialer{opts, route.New(route.Options{
		User: opts.User, Home: opts.Home, AgentSocket: opts.AgentSocket, ConfigFile: opts.ConfigFile,
		Lease: opts.Lease, Secrets: opts.Secrets, EndMasters: opts.EndMasters, Log: opts.Log, Dialer: opts.Dialer,
	})}
}

// Address gives the address of t as ssh_config resolves it.
func (d *Dialer) Address(ctx context.Context, t Target) string { return d.network.Address(ctx, t) }

// Dial connects to t and starts the helper there. Close of the Host ends the
// helper and the connection; if either is lost, calls fail with ErrLost and the
// reason. An empty sudo is SudoAuto. ctx bounds Dial only; every error is a
// *hostapi.Error.
func (d *Dialer) Dial(ctx context.Context, t Target, sudo Sudo) (hostapi.Host, error) {
	conn, err := d.network.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	stream, err := push.Start(ctx, conn.Conn, push.Options{Bundle: d.opts.Bundle, Lab: d.opts.Lab, Lease: conn.Lease, Sudo: sudo, Password: d.opts.SudoPassword, Log: d.opts.Log})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return wire.NewClient(&session{stream, conn.Conn}, wire.ClientOptions{Heartbeat: conn.Lease / 3, Reason: stream.Reason}), nil
}

// Dial connects to a single host, as a Dialer does.
func Dial(ctx context.Context, t Target, opts Options) (hostapi.Host, error) {
	return NewDialer(opts).Dial(ctx, t, opts.Sudo)
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
