package sshconn

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
	"vxorch/remote/hostkeys"
	"vxorch/remote/sshauth"
)

// earlyRetries bounds how often a connection is tried again that the server
// dropped before it looked at a key: sshd does so at random when many come at
// once (MaxStartups). A refusal is never tried again: servers punish that.
const earlyRetries = 3

const earlyPause = 200 * time.Millisecond // before the first retry, up to twice that; doubled each time

// userTimeout bounds how long a handshake waits for the user: sshd gives up by
// itself after two minutes (LoginGraceTime).
const userTimeout = 2 * time.Minute

// Dial connects to t and authenticates. It returns as soon as ctx ends; every
// error is a *hostapi.Error.
func Dial(ctx context.Context, t Target, opts Options) (*Conn, error) {
	t, opts, err := withDefaults(t, opts)
	if err != nil {
		return nil, err
	}
	verifier, err := newVerifier(t, opts)
	if err != nil {
		return nil, err
	}
	waited := false
	for retries := 0; ; {
		conn, err := attempt(ctx, t, opts, verifier)
		if err == nil {
			return conn, nil
		}
		var early *droppedEarly
		var slow *droppedWaiting
		switch {
		case verifier.next():
			continue
		case errors.As(err, &slow) && waited:
			return nil, slow.reason
		case errors.As(err, &slow): // what the user has told meanwhile is known now
			waited = true
			continue
		case !errors.As(err, &early):
			return nil, err
		case retries == earlyRetries:
			return nil, early.reason
		}
		pause := earlyPause << retries
		retries++
		opts.Log.Debug("ssh: dropped before authentication, trying again", "address", hostport(t), "retry", retries, "error", early.reason.Message)
		select {
		case <-ctx.Done():
			return nil, canceled(ctx, "connect to "+hostport(t))
		case <-time.After(pause + rand.N(pause)):
		}
	}
}

// Attach gives the connection of an OpenSSH ControlMaster, to whose socket raw
// leads; name is the host's, for messages. It is the master that notices a peer
// that is gone: a question whether it is there would end the attachment.
func Attach(ctx context.Context, raw net.Conn, name string, opts Options) (*Conn, error) {
	opts.KeepaliveInterval = -1
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	wire := &countingConn{Conn: raw, peer: "the system's ssh"}
	stop := context.AfterFunc(ctx, func() { wire.Close() })
	conn, channels, requests, err := ssh.NewControlClientConn(wire)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		wire.Close()
		return nil, hostapi.Errorf(hostapi.KindUnreachable, "ssh -O exit ends a ControlMaster", "attach to the ssh that is connected to %s: %v", name, err)
	}
	return newConn(ssh.NewClient(conn, channels, requests), wire, opts), nil
}

// attachTimeout bounds what is said with a ControlMaster, which is on this
// machine.
const attachTimeout = 5 * time.Second

// attempt makes one attempt, when it is its turn.
func attempt(ctx context.Context, t Target, opts Options, verifier *verifier) (*Conn, error) {
	done, err := opts.Turn(ctx)
	if err != nil {
		return nil, canceled(ctx, "connect to "+hostport(t))
	}
	conn, err := connect(ctx, t, opts, verifier)
	var early *droppedEarly
	done(errors.As(err, &early))
	return conn, err
}

// withDefaults fills in the zero values.
func withDefaults(t Target, opts Options) (Target, Options, error) {
	if t.Address == "" {
		return t, opts, hostapi.Errorf(hostapi.KindInvalid, "", "connect: no address")
	}
	if t.Port == 0 {
		t.Port = 22
	}
	if t.User == "" {
		t.User = opts.User
	}
	if t.User == "" || opts.Home == "" {
		caller, err := user.Current()
		if err != nil {
			return t, opts, hostapi.Errorf(hostapi.KindInvalid, "set ssh.user in the inventory", "find out who is calling: %v", err)
		}
		if t.User == "" {
			t.User = caller.Username
		}
		if opts.Home == "" {
			opts.Home = caller.HomeDir
		}
	}
	if len(t.KnownHosts) == 0 {
		t.KnownHosts = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	t.KnownHosts = atHome(t.KnownHosts, opts.Home)
	t.Identity = atHome(t.Identity, opts.Home)
	t.MaybeIdentity = atHome(t.MaybeIdentity, opts.Home)
	t.Certificates = atHome(t.Certificates, opts.Home)
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&opts.DialTimeout, 10 * time.Second},
		{&opts.HandshakeTimeout, 15 * time.Second},
		{&opts.KeepaliveInterval, 5 * time.Second},
		{&opts.KeepaliveTimeout, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Secrets == nil {
		opts.Secrets = sshauth.NewSecrets(nil)
	}
	if opts.HostKeys == nil {
		opts.HostKeys = &hostkeys.Reader{Log: opts.Log}
	}
	if opts.Turn == nil {
		opts.Turn = func(context.Context) (func(bool), error) { return func(bool) {}, nil }
	}
	if opts.Dialer == nil {
		opts.Dialer = (&net.Dialer{}).DialContext
	}
	return t, opts, nil
}

// atHome gives files with a leading ~/ resolved.
func atHome(files []string, home string) []string {
	var resolved []string
	for _, f := range files {
		if rest, ok := strings.CutPrefix(f, "~/"); ok {
			f = filepath.Join(home, rest)
		}
		resolved = append(resolved, f)
	}
	return resolved
}

func hostport(t Target) string {
	return net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
}
