// Package route finds the way to a host from what the inventory and ssh_config
// say, and goes it: through jump hosts, whose connections the hosts behind them
// share, or through a command; with a limit of handshakes at once for each
// server. What a connection is, and how it is proved, is the matter of sshconn.
package route

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/hostkeys"
	"vxorch/remote/sshauth"
	"vxorch/remote/sshconfig"
	"vxorch/remote/sshconn"
)

// Target is a host as the inventory has it. Zero values leave the choice to
// ssh_config.
type Target struct {
	Name       string // the inventory's name of the host, for hints
	Address    string // a name, also one of ssh_config's, an IPv4 or an IPv6 address, without brackets
	Port       int
	User       string
	Identity   []string       // private key files
	KnownHosts []string       // files
	HostKey    string         // pinned SHA256:… fingerprint, which decides alone
	AcceptNew  *bool          // write the key of a host that known_hosts does not have into the first of its files
	Jump       []string       // [user@]host[:port], from here to there; "none" alone: no jump host, whatever ssh_config says
	OpenSSH    bool           // let the system's ssh connect
	Persist    *time.Duration // how long that ssh stays connected unused; nil: a minute; 0: not at all
}

// Options is the world around the connections. The zero value works, without
// agent and ssh_config.
type Options struct {
	User        string        // login name where neither inventory nor ssh_config has one; empty: the caller's
	Home        string        // what ~ stands for, and whose ssh_config counts; empty: the caller's home directory, and no ssh_config
	AgentSocket string        // of the ssh-agent; empty: none
	ConfigFile  string        // read in place of the user's and the system's ssh_config; "none": none is read
	SSH         string        // the ssh program, as for sshconfig.Resolver
	Lease       time.Duration // how long both ends live on without a sign of each other; 0: 15 s
	Secrets     *sshauth.Secrets
	MasterDir   string       // as Options.Dir of sshmaster
	EndMasters  bool         // an ssh that connects ends with its connection, whatever Persist says
	Log         *slog.Logger // nil: nowhere
	// Dialer makes the TCP connections; nil: net.Dialer.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
}

// Network connects to the hosts of one run. Safe for concurrent use.
type Network struct {
	opts     Options
	resolver *sshconfig.Resolver
	hostKeys *hostkeys.Reader
	punctual *punctual

	mu     sync.Mutex
	shared map[string]*shared        // connections to jump hosts, by way
	failed map[string]*hostapi.Error // jump hosts that refused us: not asked again
	gates  map[string]*gate          // by server

	laxOnce sync.Once
}

// New gives the network that opts describe.
func New(opts Options) *Network {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Lease == 0 {
		opts.Lease = 15 * time.Second
	}
	if opts.Secrets == nil {
		opts.Secrets = sshauth.NewSecrets(nil)
	}
	if opts.Dialer == nil {
		opts.Dialer = (&net.Dialer{}).DialContext
	}
	return &Network{
		opts:     opts,
		resolver: &sshconfig.Resolver{Home: opts.Home, File: opts.ConfigFile, User: opts.User, Log: opts.Log, SSH: opts.SSH},
		hostKeys: &hostkeys.Reader{Log: opts.Log},
		punctual: newPunctual(),
		shared:   map[string]*shared{}, failed: map[string]*hostapi.Error{}, gates: map[string]*gate{},
	}
}

// Conn is a connection to a host.
type Conn struct {
	*sshconn.Conn
	Lease time.Duration // how long both ends are to live on without a sign of each other
}

// Dial connects to t. It returns when ctx ends; every error is a *hostapi.Error.
func (n *Network) Dial(ctx context.Context, t Target) (*Conn, error) {
	if t.OpenSSH {
		return n.dialOpenSSH(ctx, t)
	}
	way, err := n.way(ctx, t)
	if err != nil {
		return nil, err
	}
	conn, err := n.connect(ctx, way)
	if err != nil {
		return nil, err
	}
	return &Conn{conn, way[len(way)-1].lease}, nil
}

// Address gives the address of t as ssh_config resolves it: a name or an IP
// address.
func (n *Network) Address(ctx context.Context, t Target) string {
	return n.hop(ctx, t).target.Address
}

// connect connects to the last hop of way, through the others.
func (n *Network) connect(ctx context.Context, way []hop) (*sshconn.Conn, error) {
	last, before := way[len(way)-1], way[:len(way)-1]
	opts := sshconn.Options{
		User: n.opts.User, Home: n.opts.Home, AgentSocket: n.opts.AgentSocket, Secrets: n.opts.Secrets, HostKeys: n.hostKeys,
		DialTimeout: last.dialTimeout, KeepaliveInterval: last.interval, KeepaliveTimeout: last.silence, Log: n.opts.Log,
	}
	server := places(way)
	switch {
	case len(before) > 0:
		bastion, release, err := n.share(ctx, before)
		if err != nil {
			return nil, err
		}
		defer release() // each connection through it holds on to it by itself
		through := n.gate("through " + places(before))
		opts.Turn = both(n.gate(server), through)
		opts.Dialer = func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := bastion.conn.Forward(ctx, address)
			if err != nil {
				return nil, via(before, err)
			}
			return n.hold(bastion, conn), nil
		}
	case last.proxyCommand != "":
		opts.Dialer = func(ctx context.Context, _, address string) (net.Conn, error) {
			return startProxy(ctx, last.proxyCommand, address)
		}
	default:
		opts.Turn, opts.Dialer = n.gate(server).turn, n.opts.Dialer
		if last.dialTimeout == 0 { // else the user knows better
			opts.Dialer = n.punctual.dial(opts.Dialer)
		}
	}
	return sshconn.Dial(ctx, last.target, opts)
}

// via says at which jump host an error arose.
func via(before []hop, err error) error {
	e := hostapi.AsError(err)
	e.Message = fmt.Sprintf("through %s: %s", before[len(before)-1].label(), e.Message)
	return e
}

// key names a way, so that two which lead over the same servers as the same
// users by the same keys are one.
func key(way []hop) string {
	var parts []string
	for _, h := range way {
		h.alias, h.target.Name = "", ""
		parts = append(parts, fmt.Sprintf("%+v", h))
	}
	return strings.Join(parts, " > ")
}

// places names the servers of a way, whoever comes.
func places(way []hop) string {
	var parts []string
	for _, h := range way {
		parts = append(parts, net.JoinHostPort(h.target.Address, strconv.Itoa(h.target.Port)))
	}
	return strings.Join(parts, " > ")
}
