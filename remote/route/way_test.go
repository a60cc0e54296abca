package route

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

// network reads that ssh_config.
func network(t *testing.T, config string) *Network {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return New(Options{User: caller(t), Home: "/nonexistent", ConfigFile: file})
}

// caller is who ssh takes for the user where nothing else is said.
func caller(t *testing.T) string {
	t.Helper()
	who, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	return who.Username
}

func TestWays(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		target Target
		want   string // the servers in order, and the command that leads to the first
	}{
		"straight":                              {"", Target{Address: "192.0.2.1"}, "caller@192.0.2.1:22"},
		"an alias":                              {"Host web\n  HostName 192.0.2.1\n  Port 2201\n  User me\n", Target{Address: "web"}, "me@192.0.2.1:2201"},
		"the inventory's word first":            {"Host web\n  HostName 192.0.2.1\n  Port 2201\n  User me\n", Target{Address: "web", Port: 2222, User: "root"}, "root@192.0.2.1:2222"},
		"IPv6":                                  {"", Target{Address: "2001:db8::1"}, "caller@[2001:db8::1]:22"},
		"one jump host":                         {"Host web\n  ProxyJump me@gw:2222\nHost gw\n  HostName 192.0.2.9\n  Port 1\n", Target{Address: "web"}, "me@192.0.2.9:2222 caller@web:22"},
		"several, each through the one before":  {"Host web\n  ProxyJump a,b,[2001:db8::1]:2222\n", Target{Address: "web"}, "caller@a:22 caller@b:22 caller@[2001:db8::1]:2222 caller@web:22"},
		"jump hosts of jump hosts":              {"Host web\n  ProxyJump b\nHost b\n  ProxyJump a\n", Target{Address: "web"}, "caller@a:22 caller@b:22 caller@web:22"},
		"a later one's own do not count":        {"Host web\n  ProxyJump a,b\nHost b\n  ProxyJump c\n", Target{Address: "web"}, "caller@a:22 caller@b:22 caller@web:22"},
		"none in ssh_config":                    {"Host web\n  ProxyJump none\nHost *\n  ProxyJump a\n", Target{Address: "web"}, "caller@web:22"},
		"none in the inventory":                 {"Host *\n  ProxyJump a\n", Target{Address: "web", Jump: []string{"none"}}, "caller@web:22"},
		"all hosts behind one, itself excepted": {"Host *\n  ProxyJump gw\n", Target{Address: "web"}, "caller@gw:22 caller@web:22"},
		"the inventory's in place of others":    {"Host web\n  ProxyJump a\n  ProxyCommand x\nHost b\n  User me\n", Target{Address: "web", Jump: []string{"b"}}, "me@b:22 caller@web:22"},
		"a command":                             {"Host web\n  ProxyCommand nc %h %p\n", Target{Address: "web", Port: 2222}, "[nc web 2222] caller@web:2222"},
		"a command to the jump host":            {"Host web\n  ProxyJump gw\nHost gw\n  ProxyCommand nc %h %p\n", Target{Address: "web"}, "[nc gw 22] caller@gw:22 caller@web:22"},
		"no command":                            {"Host web\n  ProxyCommand none\nHost *\n  ProxyCommand x\n", Target{Address: "web"}, "caller@web:22"},
	} {
		t.Run(name, func(t *testing.T) {
			way, err := network(t, c.config).way(t.Context(), c.target)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range way {
				if h.proxyCommand != "" {
					got = append(got, "["+h.proxyCommand+"]")
				}
				got = append(got, h.id())
			}
			if diff := cmp.Diff(strings.ReplaceAll(c.want, "caller", caller(t)), strings.Join(got, " ")); diff != "" {
				t.Errorf("way (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCirclesAreFound(t *testing.T) {
	var endless strings.Builder // as far as anybody goes: ssh expands nothing in ProxyJump, else one line would do
	endless.WriteString("Host web\n  ProxyJump x0\n")
	for i := range 2 * maxHops {
		fmt.Fprintf(&endless, "Host x%d\n  ProxyJump x%d\n", i, i+1)
	}
	for name, c := range map[string]struct {
		config string
		jump   []string
		names  string
	}{
		"of two":               {"Host web\n  ProxyJump a\nHost a\n  ProxyJump web\n", nil, "web, a, web"},
		"of jump hosts":        {"Host web\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyJump a\n", nil, "a, b, a"},
		"the host itself":      {"", []string{"web"}, "web, web"},
		"twice in a list":      {"Host web\n  ProxyJump a,b,a\n", nil, "a, b, a"},
		"itself in a list":     {"", []string{"a", "web"}, "a, web"},
		"by another name":      {"Host web\n  ProxyJump a\nHost a\n  HostName b\n  ProxyJump c\nHost c\n  ProxyJump d\nHost d\n  HostName b\n", nil, "a, c, d"},
		"under ever new names": {endless.String(), nil, "web, x0, x1, "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := network(t, c.config).way(t.Context(), Target{Address: "web", Jump: c.jump})
			if err == nil || !strings.Contains(err.Error(), "circle: "+c.names) {
				t.Errorf("way = %v, want the circle %s", err, c.names)
			}
		})
	}
}

func TestBadJumpHosts(t *testing.T) {
	for _, spec := range []string{"", "@gw", "gw:0", "gw:x", "-oProxyCommand=x", "a b", "gw/x"} {
		if _, err := parseJump(spec); err == nil {
			t.Errorf("parseJump(%q) is fine, want an error", spec)
		}
	}
	got, err := parseJump("ssh://me@[2001:db8::1]:2222/")
	if err != nil || got.User != "me" || got.Address != "2001:db8::1" || got.Port != 2222 {
		t.Errorf("parseJump of a URI = %+v, %v", got, err)
	}
}

func TestWhatSSHConfigSaysOfAHost(t *testing.T) {
	n := network(t, `Host web
  IdentityFile ~/.ssh/lab
  CertificateFile ~/.ssh/lab-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile /k/lab
  HostKeyAlias lab
  StrictHostKeyChecking no
  ConnectTimeout 7
  ServerAliveInterval 20
  ServerAliveCountMax 2
Host pinned
  StrictHostKeyChecking no
`)
	h := n.hop(t.Context(), Target{Address: "web"})
	home := h.target.MaybeIdentity[0][:len(h.target.MaybeIdentity[0])-len("/.ssh/lab")]
	if h.target.Agent != "none" || !h.target.IdentitiesOnly || !h.target.AcceptNew || h.target.KeyName != "lab" ||
		h.target.KnownHosts[0] != "/k/lab" || h.target.Certificates[0] != home+"/.ssh/lab-cert.pub" {
		t.Errorf("hop = %+v", h.target)
	}
	if h.dialTimeout != 7*time.Second || h.interval != 20*time.Second || h.silence != 40*time.Second || h.lease != time.Minute {
		t.Errorf("times = %v", []time.Duration{h.dialTimeout, h.interval, h.silence, h.lease})
	}
	no := false
	h = n.hop(t.Context(), Target{Address: "web", Identity: []string{"mine"}, KnownHosts: []string{"theirs"}, AcceptNew: &no})
	if h.target.AcceptNew || h.target.Identity[0] != "mine" || h.target.KnownHosts[0] != "theirs" {
		t.Errorf("the inventory's word does not count first: %+v", h.target)
	}
	if h = n.hop(t.Context(), Target{Address: "pinned", HostKey: "SHA256:x"}); h.target.AcceptNew {
		t.Error("a pinned host is taken as new")
	}
}

func TestErrorsOfJumpHostsKeepTheirKind(t *testing.T) {
	err := via([]hop{{alias: "gw"}}, &hostapi.Error{Kind: hostapi.KindAuth, Message: "no", Hint: "ask"})
	if e := hostapi.AsError(err); e.Kind != hostapi.KindAuth || e.Hint != "ask" || !strings.HasPrefix(e.Message, "through gw") {
		t.Errorf("via = %+v", e)
	}
}
