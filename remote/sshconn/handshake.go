package sshconn

import (
	"context"
	"errors"
	"net"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshauth"
)

// droppedEarly is a connection that ended before the server looked at a key.
type droppedEarly struct{ reason *hostapi.Error }

func (e *droppedEarly) Error() string { return e.reason.Message }

// droppedWaiting is a connection that the server ended while the user was asked.
type droppedWaiting struct{ reason *hostapi.Error }

func (e *droppedWaiting) Error() string { return e.reason.Message }

// connect makes the connection underneath, then has the host let us in.
func connect(ctx context.Context, t Target, opts Options, verifier *verifier) (*Conn, error) {
	// The library bounds the TCP connection only (golang/go#15113): a server that
	// accepts and stays silent is got rid of by closing the connection.
	limit := newPatience(ctx)
	defer limit.end()
	keys, err := opts.Secrets.Keys(wanted(limit, t, opts))
	if err != nil {
		if ctx.Err() != nil {
			return nil, canceled(ctx, "connect to "+hostport(t))
		}
		return nil, err
	}
	defer keys.Close()
	raw, err := dial(ctx, hostport(t), opts)
	if err != nil {
		return nil, err
	}
	h := &handshake{target: t, opts: opts, verifier: verifier, keys: keys, raw: raw, limit: limit}
	conn, err := h.shake()
	if err != nil {
		return nil, h.failure(ctx, err)
	}
	return conn, nil
}

// dial makes the connection underneath.
func dial(ctx context.Context, address string, opts Options) (net.Conn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, opts.DialTimeout)
	defer cancel()
	raw, err := opts.Dialer(dialCtx, "tcp", address)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			raw.Close()
		}
		return nil, canceled(ctx, "connect to "+address)
	case err != nil:
		return nil, dialFailure(err, address, opts)
	}
	return raw, nil
}

// handshake is what is known of one.
type handshake struct {
	target   Target
	opts     Options
	verifier *verifier
	keys     *sshauth.Keyring
	raw      net.Conn
	limit    *patience

	authenticating bool
	methods        []string // that the server accepts, known once it looks at keys
}

// shake goes through the handshake.
func (h *handshake) shake() (*Conn, error) {
	wire := &countingConn{Conn: h.raw}
	if _, ok := h.raw.(explainer); ok {
		wire.peer = "the command that made it"
	}
	h.limit.begin(h.opts.HandshakeTimeout)
	stop := context.AfterFunc(h.limit.ctx, func() { wire.Close(); h.keys.Close() })
	config := &ssh.ClientConfig{
		User:              h.target.User,
		HostKeyCallback:   h.verifier.check,
		HostKeyAlgorithms: h.verifier.algorithms(),
		AuthCallback: func(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			h.authenticating, h.methods = true, c.AllowedMethods
			return h.keys.Next(h.target.User+"@"+h.target.Address, c), nil
		},
	}
	conn, channels, requests, err := ssh.NewClientConn(wire, hostport(h.target), config)
	if !stop() && err == nil {
		conn.Close()
		err = h.limit.ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return newConn(ssh.NewClient(conn, channels, requests), wire, h.opts), nil
}

// failure says why it ended with err, for Dial and for people.
func (h *handshake) failure(ctx context.Context, err error) error {
	address := hostport(h.target)
	explained := h.explained(err)
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case ctx.Err() != nil:
		return canceled(ctx, "connect to "+address)
	case h.limit.ctx.Err() != nil && h.limit.asked():
		return hostapi.Errorf(hostapi.KindAuth, "", "connect to %s: there was no answer to a question within %s", address, userTimeout)
	case h.limit.ctx.Err() != nil:
		return hostapi.Errorf(hostapi.KindUnreachable, "is it an SSH server that listens there, and is the host overloaded?",
			"connect to %s: no SSH handshake within %s", address, h.opts.HandshakeTimeout)
	case explained != nil:
		return explained
	case h.verifier.rejected != nil:
		return h.verifier.rejected
	case errors.As(err, &negotiation) && len(h.verifier.mismatched) > 0: // it has no other key to show
		return h.verifier.pinMismatch()
	case errors.As(err, &negotiation):
		return hostapi.Errorf(hostapi.KindUnreachable, "the host's SSH server is too old or too narrowly configured", "connect to %s: %v", address, negotiation)
	case h.authenticating && dropped(err):
		reason := hostapi.Errorf(hostapi.KindUnreachable, "", "connect to %s: the host hung up during authentication: %v", address, err)
		if h.limit.asked() {
			return &droppedWaiting{reason}
		}
		return reason
	case h.authenticating:
		return h.keys.Refused(h.target.User, h.target.Address, h.target.Port, h.methods, err)
	case dropped(err):
		return &droppedEarly{hostapi.Errorf(hostapi.KindUnreachable,
			"sshd drops connections when many come at once (MaxStartups), from addresses it has banned (PerSourcePenalties), or by a firewall",
			"connect to %s: the host hung up before authentication: %v", address, err)}
	}
	return hostapi.Errorf(hostapi.KindUnreachable, "is it an SSH server that listens there?", "connect to %s: %v", address, err)
}

// explainer is a connection that may know better why it ended; nil: it does not.
type explainer interface{ Explain() *hostapi.Error }

// explained is what the connection underneath says of its end, where it was that
// which ended; nil: nothing.
func (h *handshake) explained(err error) *hostapi.Error {
	underneath, ok := h.raw.(explainer)
	if !ok || !dropped(err) || h.limit.ctx.Err() != nil {
		return nil
	}
	return underneath.Explain()
}

// wanted says which keys t is to be offered.
func wanted(limit *patience, t Target, opts Options) sshauth.Wanted {
	w := sshauth.Wanted{
		Identity: t.Identity, MaybeFiles: t.MaybeIdentity, Certificates: t.Certificates, Only: t.IdentitiesOnly,
		Agent: t.Agent, Home: opts.Home, Ctx: limit.ctx, Patiently: limit.during, Log: opts.Log,
	}
	switch t.Agent {
	case "":
		w.Agent = opts.AgentSocket
	case "none":
		w.Agent = ""
	}
	return w
}
