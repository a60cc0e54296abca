package inventory

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"
)

// readSSH reads how to reach a host. A key that is given wins over the one of
// base, key by key.
func (p *parser) readSSH(n *yaml.Node, base SSH) SSH {
	f := p.fields(n, "ssh", "user", "port", "identity", "known_hosts", "host_key", "accept_new", "jump", "sudo", "transport", "persist")
	ssh := base
	if e, found := f["user"]; found {
		ssh.User = p.readUser(e.value)
	}
	if e, found := f["port"]; found {
		ssh.Port, _ = p.integer(e.value, "port", 1, 65535)
	}
	if e, found := f["identity"]; found {
		ssh.Identity = p.readPaths(e.value, "identity")
	}
	if e, found := f["known_hosts"]; found {
		ssh.KnownHosts = p.readPaths(e.value, "known_hosts")
	}
	if e, found := f["host_key"]; found {
		ssh.HostKey = p.readFingerprint(e.value)
	}
	if e, found := f["accept_new"]; found {
		accept := p.boolean(e.value, "accept_new")
		ssh.AcceptNew = &accept
	}
	if e, found := f["jump"]; found {
		ssh.Jump = p.readJump(e.value)
	}
	if _, found := f["transport"]; found {
		ssh.OpenSSH = p.choice(f, "transport", transports) == "openssh"
	}
	if e, found := f["persist"]; found {
		ssh.Persist = p.readPersist(e.value)
	}
	if pinned := func(s SSH) bool { return s.OpenSSH && s.HostKey != "" }; pinned(ssh) && !pinned(base) {
		p.errorf(n, "host_key does not go with `transport: openssh`").Hint = "ssh cannot be given a fingerprint: name a known_hosts file that has the key"
	}
	if _, found := f["sudo"]; found {
		ssh.Sudo = p.choice(f, "sudo", sudos)
	}
	return ssh
}

// sudos are how a user other than root becomes it; the first is the default.
var sudos = []string{"auto", "ask", "never"}

// transports are who connects: this program, or the system's ssh.
var transports = []string{"native", "openssh"}

// maxPersist bounds how long an ssh may stay connected unused.
const maxPersist = 24 * time.Hour

// readPersist reads a time, as in 60s; 0 or `off` for none.
func (p *parser) readPersist(n *yaml.Node) *time.Duration {
	text, ok := p.str(n, "persist")
	if !ok {
		return nil
	}
	var d time.Duration
	if text != "off" {
		var err error
		if d, err = time.ParseDuration(text); err != nil || d < 0 || d > maxPersist {
			p.errorf(n, "persist %q is not a time up to 24h", text).Hint = "write it as 60s or 10m, or `off`"
			return nil
		}
	}
	return &d
}

func (p *parser) readUser(n *yaml.Node) string {
	user, ok := p.str(n, "user")
	if ok && (user[0] == '-' || strings.ContainsFunc(user, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })) {
		p.errorf(n, "user %q is no login name", user)
	}
	return user
}

// readPaths reads one path or a list of them.
func (p *parser) readPaths(n *yaml.Node, what string) []string {
	var paths []string
	for _, item := range items(n) {
		path, ok := p.str(item, what)
		if !ok {
			continue
		}
		if strings.ContainsFunc(path, unicode.IsControl) {
			p.errorf(item, "%s %q is no path of a file", what, path)
		}
		paths = append(paths, path)
	}
	return paths
}

// readJump reads jump hosts: `none`, one, several with commas between as ssh has
// them, or a list.
func (p *parser) readJump(n *yaml.Node) []string {
	var hops []string
	for _, item := range items(n) {
		text, ok := p.str(item, "jump")
		if !ok {
			continue
		}
		for hop := range strings.SplitSeq(text, ",") {
			hop = strings.TrimSpace(hop)
			if problem := jumpProblem(hop); problem != "" {
				p.errorf(item, "jump %q %s", text, problem).Hint = "write a jump host as [user@]host[:port], an IPv6 address in brackets; `none` for none"
			}
			hops = append(hops, hop)
		}
	}
	if len(hops) > 1 && slices.Contains(hops, "none") {
		p.errorf(n, "jump has `none` beside others").Hint = "`none` stands alone"
	}
	return hops
}

// jumpProblem says what is wrong with a jump host; empty: nothing.
func jumpProblem(hop string) string {
	user, host, found := strings.Cut(hop, "@")
	if !found {
		user, host = "x", hop
	}
	switch {
	case user == "", strings.HasPrefix(user, "-"), strings.ContainsFunc(user, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "has no login name before the @"
	case strings.Contains(host, "://"):
		return "is an address of the web"
	}
	if inside, rest, found := strings.Cut(strings.TrimPrefix(host, "["), "]"); found && host[0] == '[' {
		if _, err := netip.ParseAddr(inside); err != nil {
			return "has no IP address in its brackets"
		}
		return portProblem(rest)
	}
	name, port, found := strings.Cut(host, ":")
	if found {
		if problem := portProblem(":" + port); problem != "" {
			return problem
		}
	}
	if problem := nameProblem(name, 253); problem != "" { // 253: RFC 1035 §2.3.4
		return problem
	}
	return ""
}

// portProblem says what is wrong with a port and the colon before it; empty:
// nothing, or neither is there.
func portProblem(text string) string {
	if text == "" {
		return ""
	}
	digits, found := strings.CutPrefix(text, ":")
	port, err := strconv.Atoi(digits)
	if !found || err != nil || !isDigits(digits) || port < 1 || port > 65535 {
		return "has no port between 1 and 65535 at its end"
	}
	return ""
}

func (p *parser) readFingerprint(n *yaml.Node) string {
	text, ok := p.str(n, "host_key")
	if !ok {
		return ""
	}
	hash, found := strings.CutPrefix(text, "SHA256:")
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(hash, "="))
	hash = strings.TrimRight(hash, "=")
	if !found || err != nil || len(raw) != 32 || len(hash) != 43 {
		p.errorf(n, "host_key %q is not a SHA256:… fingerprint", text).Hint = "on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
		return ""
	}
	return "SHA256:" + hash
}
