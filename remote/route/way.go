package route

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconfig"
	"vxorch/remote/sshconn"
)

// maxHops bounds a way; ssh_config may lead in circles under ever new names.
const maxHops = 16

// hop is a server on the way, completely described.
type hop struct {
	target       sshconn.Target
	alias        string // as it was asked for
	jump         []string
	proxyCommand string
	dialTimeout  time.Duration
	interval     time.Duration // of keepalives
	silence      time.Duration
	lease        time.Duration
}

func (h hop) id() string {
	return h.target.User + "@" + net.JoinHostPort(h.target.Address, strconv.Itoa(h.target.Port))
}

// label names it for people.
func (h hop) label() string {
	if h.alias != h.target.Address {
		return fmt.Sprintf("%s (%s)", h.alias, h.id())
	}
	return h.id()
}

// way gives the servers on the way to t, which is the last of them.
func (n *Network) way(ctx context.Context, t Target) ([]hop, error) {
	way, err := n.lead(ctx, t, nil)
	if ctx.Err() != nil {
		return nil, hostapi.Errorf(hostapi.KindCanceled, "", "connect to %s: %v", t.Address, context.Cause(ctx))
	}
	return way, err
}

// lead gives the way to t for those that lie behind it. As with ssh, the first
// jump host has jump hosts of its own if ssh_config says so, and each other is
// reached through the one before.
func (n *Network) lead(ctx context.Context, t Target, behind []hop) ([]hop, error) {
	last := n.hop(ctx, t)
	for i, b := range behind {
		if b.id() == last.id() {
			return nil, circle(append(behind[i:], last))
		}
	}
	behind = append(slices.Clone(behind), last)
	if len(behind) > maxHops {
		return nil, circle(behind)
	}
	var way []hop
	for i, spec := range last.jump {
		jump, err := parseJump(spec)
		if err != nil {
			return nil, hostapi.Errorf(hostapi.KindInvalid, "write it as [user@]host[:port]", "jump host of %s: %v", last.alias, err)
		}
		if len(t.Jump) > 0 { // no other place says how to reach those
			jump.Identity, jump.KnownHosts, jump.AcceptNew = t.Identity, t.KnownHosts, t.AcceptNew
		}
		h := n.hop(ctx, jump)
		switch {
		case h.id() == last.id() && len(last.jump) == 1 && len(t.Jump) == 0:
			// `Host *` with a ProxyJump means all hosts but the jump host itself.
		case i == 0:
			if way, err = n.lead(ctx, jump, behind); err != nil {
				return nil, err
			}
		case slices.ContainsFunc(append(behind, way...), func(b hop) bool { return b.id() == h.id() }):
			return nil, circle(append(way, h))
		default:
			h.proxyCommand = ""
			way = append(way, h)
		}
	}
	if len(way) > 0 {
		last.proxyCommand = ""
	}
	return append(way, last), nil
}

func circle(hops []hop) error {
	var names []string
	for _, h := range hops {
		names = append(names, h.alias)
	}
	return hostapi.Errorf(hostapi.KindInvalid, "mend jump in the inventory or ProxyJump in ssh_config; `none` ends a chain",
		"the jump hosts lead in a circle: %s", strings.Join(names, ", "))
}

// hop gives t with what ssh_config has to say of it. The inventory's word counts
// first.
func (n *Network) hop(ctx context.Context, t Target) hop {
	s := n.resolver.Lookup(ctx, sshconfig.Query{Host: t.Address, Port: t.Port, User: t.User})
	h := hop{
		alias: t.Address, jump: t.Jump, proxyCommand: s.ProxyCommand, dialTimeout: s.ConnectTimeout,
		interval: n.opts.Lease / 3, silence: n.opts.Lease - n.opts.Lease/3, lease: n.opts.Lease,
		target: sshconn.Target{
			Name: t.Name, Address: cmp.Or(s.HostName, t.Address), Port: cmp.Or(t.Port, s.Port, 22), User: cmp.Or(t.User, s.User, n.opts.User),
			Identity: t.Identity, MaybeIdentity: s.IdentityFiles, Certificates: s.CertificateFiles,
			IdentitiesOnly: s.IdentitiesOnly, Agent: s.IdentityAgent,
			KnownHosts: t.KnownHosts, KeyName: s.HostKeyAlias, HostKey: t.HostKey,
		},
	}
	if len(h.target.KnownHosts) == 0 {
		h.target.KnownHosts = knownHosts(s)
	}
	h.target.AcceptNew = n.acceptNew(t, s)
	if s.ServerAliveInterval > 0 {
		h.interval = s.ServerAliveInterval
		h.silence = s.ServerAliveInterval * time.Duration(max(s.ServerAliveCountMax, 1))
		h.lease = h.interval + h.silence
	}
	if len(h.jump) == 0 && s.ProxyJump != "" {
		h.jump = strings.Split(s.ProxyJump, ",")
	}
	if len(h.jump) > 0 && h.jump[0] == "none" {
		if len(t.Jump) > 0 {
			h.proxyCommand = ""
		}
		h.jump = nil
	}
	if strings.EqualFold(h.proxyCommand, "none") {
		h.proxyCommand = ""
	}
	return h
}

// knownHosts gives the files that ssh_config names, where it names any.
func knownHosts(s sshconfig.Settings) []string {
	if len(s.UserKnownHosts) == 0 && len(s.GlobalKnownHosts) == 0 {
		return nil
	}
	user, global := s.UserKnownHosts, s.GlobalKnownHosts
	if len(user) == 0 {
		user = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	if len(global) == 0 {
		global = []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	files := slices.Concat(user, global)
	for i := range files {
		if files[i] == "none" {
			files[i] = "/dev/null"
		}
	}
	return files
}

// acceptNew tells whether a new host's key is taken. A changed one never is.
func (n *Network) acceptNew(t Target, s sshconfig.Settings) bool {
	if t.AcceptNew != nil {
		return *t.AcceptNew
	}
	if s.StrictHostKeyChecking == "no" && t.HostKey == "" {
		n.laxOnce.Do(func() {
			n.opts.Log.Warn("ssh: ssh_config says StrictHostKeyChecking no: it is taken as accept-new, a changed key is refused all the same", "host", t.Address)
		})
		return true
	}
	return s.StrictHostKeyChecking == "accept-new"
}

// parseJump reads [user@]host[:port], also as a URI.
func parseJump(spec string) (Target, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(spec), "ssh://"), "/")
	var t Target
	if at := strings.LastIndex(text, "@"); at >= 0 {
		t.User, text = text[:at], text[at+1:]
		if t.User == "" {
			return t, fmt.Errorf("%q has an empty user", spec)
		}
	}
	t.Address = strings.Trim(text, "[]")
	if host, port, err := net.SplitHostPort(text); err == nil {
		number, err := strconv.Atoi(port)
		if err != nil || number < 1 || number > 65535 {
			return t, fmt.Errorf("%q has no port between 1 and 65535", spec)
		}
		t.Address, t.Port = host, number
	}
	if t.Address == "" || strings.HasPrefix(t.Address, "-") || strings.ContainsAny(t.Address, " \t/") {
		return t, fmt.Errorf("%q names no host", spec)
	}
	return t, nil
}
