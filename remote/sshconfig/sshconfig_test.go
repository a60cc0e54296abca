package sshconfig_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/sshconfig"
)

// write writes a file of ssh_config.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func needSSH(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// Whether ssh resolves the file or it is read without ssh, the host is the same.
func TestSSHAndTheReaderAgree(t *testing.T) {
	needSSH(t)
	caller, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	home := caller.HomeDir
	included := write(t, "Host web\n  Port 2201\nHost *\n  User included\n")
	for name, c := range map[string]struct {
		config string
		query  sshconfig.Query
		want   sshconfig.Settings
	}{
		"nothing said of the host": {"Host other\n  Port 1\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{}},
		"the first of two counts": {"Host web\n  Port 2201\n  User me\nHost *\n  Port 2202\n  User you\n", sshconfig.Query{Host: "web"},
			sshconfig.Settings{Port: 2201, User: "me"}},
		"keys of all stanzas": {"Host web\n  IdentityFile ~/.ssh/%r@%h\nHost *\n  IdentityFile \"/keys/my key\"\n  CertificateFile /keys/c.pub\n  IdentitiesOnly yes\n  HostName 192.0.2.1\n  User me\n",
			sshconfig.Query{Host: "web"}, sshconfig.Settings{HostName: "192.0.2.1", User: "me", IdentitiesOnly: true,
				IdentityFiles: []string{home + "/.ssh/me@192.0.2.1", "/keys/my key"}, CertificateFiles: []string{"/keys/c.pub"}}},
		"what is given elsewhere counts first": {"Host web\n  Port 2201\n  User me\n  IdentityFile /keys/%p-%r\n", sshconfig.Query{Host: "web", Port: 2222, User: "root"},
			sshconfig.Settings{Port: 2222, User: "root", IdentityFiles: []string{"/keys/2222-root"}}},
		"patterns and their negation": {"Host *.lab !gw.lab\n  Port 2201\nHost gw.*\n  Port 2202\n", sshconfig.Query{Host: "gw.lab"}, sshconfig.Settings{Port: 2202}},
		"host name made of the alias": {"Host web\n  HostName %h.example.net\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{HostName: "web.example.net"}},
		"jump hosts":                  {"Host web\n  ProxyJump me@a:2222,b\n  ProxyCommand nc %h %p\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{ProxyJump: "me@a:2222,b"}},
		"command with tokens": {"Host web\n  ProxyCommand \"/my nc\" %h %p %r %n %%\n  HostName 192.0.2.1\n  User me\n  ProxyJump a\n", sshconfig.Query{Host: "web"},
			sshconfig.Settings{HostName: "192.0.2.1", User: "me", ProxyCommand: `"/my nc" 192.0.2.1 22 me web %`}},
		"known_hosts and their alias": {"Host web\n  UserKnownHostsFile /k/one ~/two\n  GlobalKnownHostsFile /dev/null\n  HostKeyAlias lab\n  StrictHostKeyChecking accept-new\n", sshconfig.Query{Host: "web"},
			sshconfig.Settings{UserKnownHosts: []string{"/k/one", home + "/two"}, GlobalKnownHosts: []string{"/dev/null"}, HostKeyAlias: "lab", StrictHostKeyChecking: "accept-new"}},
		"no checking": {"StrictHostKeyChecking off\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{StrictHostKeyChecking: "no"}},
		"times": {"ConnectTimeout 7\nServerAliveInterval 1m\nServerAliveCountMax 5\n", sshconfig.Query{Host: "web"},
			sshconfig.Settings{ConnectTimeout: 7 * time.Second, ServerAliveInterval: time.Minute, ServerAliveCountMax: 5}},
		"equals signs, quotes and small letters": {"host=web\nport = 2201\nuser \"me\"\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{Port: 2201, User: "me"}},
		"agent":                                  {"IdentityAgent ~/agent.%r\n", sshconfig.Query{Host: "web", User: "me"}, sshconfig.Settings{User: "me", IdentityAgent: home + "/agent.me"}},
		"no agent":                               {"IdentityAgent none\nPort 2201\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{Port: 2201, IdentityAgent: "none"}},
		"include":                                {"Host w*\n  Include " + included + "\n  Port 2202\nHost *\n  User me\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{Port: 2201, User: "included"}},
		"include in a stanza for others":         {"Host x\n  Include " + included + "\nHost *\n  Port 2202\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{Port: 2202}},
		"match all":                              {"Match all\n  Port 2201\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{Port: 2201}},
		"a circle of includes":                   {"Port 2201\nInclude /dev/null\n", sshconfig.Query{Host: "web"}, sshconfig.Settings{Port: 2201}},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, c.config)
			for _, how := range []string{"", "none"} {
				r := sshconfig.Resolver{Home: home, File: file, User: caller.Username, SSH: how}
				got := r.Lookup(t.Context(), c.query)
				if how == "" { // ssh prints its defaults, too
					forget(&got, c.want, c.query.Host, caller.Username)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("Lookup with SSH %q (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

// forget takes ssh's defaults out of got where want has nothing.
func forget(got *sshconfig.Settings, want sshconfig.Settings, host, caller string) {
	if want.HostName == "" && got.HostName == host {
		got.HostName = ""
	}
	if want.Port == 0 && got.Port == 22 {
		got.Port = 0
	}
	if want.User == "" && got.User == caller {
		got.User = ""
	}
	if want.StrictHostKeyChecking == "" && got.StrictHostKeyChecking == "ask" {
		got.StrictHostKeyChecking = ""
	}
	if want.ServerAliveCountMax == 0 && got.ServerAliveCountMax == 3 {
		got.ServerAliveCountMax = 0
	}
	if len(want.GlobalKnownHosts) == 0 && len(got.GlobalKnownHosts) == 2 {
		got.GlobalKnownHosts = nil
	}
}

func TestSSHJudgesMatchExec(t *testing.T) {
	needSSH(t)
	file := write(t, "Match exec \"test %n = web\"\n  Port 2201\nMatch exec \"false\"\n  User nobody\nMatch user root host web\n  HostKeyAlias me\n")
	r := sshconfig.Resolver{File: file, User: "me"}
	got := r.Lookup(t.Context(), sshconfig.Query{Host: "web", User: "root"})
	if got.Port != 2201 || got.User != "root" || got.HostKeyAlias != "me" {
		t.Errorf("Lookup = %+v, want port 2201, user root and the alias", got)
	}
}

// A stanza that cannot be judged, or a line that cannot be read, is warned of
// once and spoils nothing else.
func TestStanzasThatAreNotNeededFailNothing(t *testing.T) {
	var log bytes.Buffer
	file := write(t, "Match exec \"test -e /x\"\n  Port 1\nHost web\n  User \"me\n  Port 2201\nNonsense\nInclude /no/such/file\n")
	r := sshconfig.Resolver{File: file, User: "me", SSH: "none", Log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, host := range []string{"web", "other", "web2"} {
		want := sshconfig.Settings{}
		if host == "web" {
			want.Port = 2201
		}
		got := r.Lookup(t.Context(), sshconfig.Query{Host: host})
		got.User = "" // a quote that does not end: whatever
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Lookup(%s) (-want +got):\n%s", host, diff)
		}
	}
	if n := strings.Count(log.String(), "line=1 "); n != 1 || !strings.Contains(log.String(), "file="+file) {
		t.Errorf("warned %d times of line 1, want once:\n%s", n, &log)
	}
}

func TestAFileThatSSHRefusesIsReadAsFarAsItGoes(t *testing.T) {
	needSSH(t)
	var log bytes.Buffer
	file := write(t, "Host web\n  Port 2201\n  NoSuchKeyword x\n")
	r := sshconfig.Resolver{File: file, User: "me", Log: slog.New(slog.NewTextHandler(&log, nil))}
	if got := r.Lookup(t.Context(), sshconfig.Query{Host: "web"}); got.Port != 2201 {
		t.Errorf("Lookup = %+v, want port 2201", got)
	}
	if !strings.Contains(log.String(), "nosuchkeyword") {
		t.Errorf("logged %q, want ssh's words", &log)
	}
}

// What comes with a system asks for nothing that counts here, and starting ssh
// costs time.
func TestSSHIsNotStartedForFilesThatSayNothing(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "ssh")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\ntouch %s/started\n", dir), 0o700); err != nil {
		t.Fatal(err)
	}
	started := func() bool { _, err := os.Stat(filepath.Join(dir, "started")); return err == nil }
	for _, file := range []string{"none", filepath.Join(dir, "missing"), write(t, "# Port 1\nHost *\n  SendEnv LANG\n  HashKnownHosts yes\nMatch exec \"x\"\n  Ciphers y\n")} {
		r := sshconfig.Resolver{File: file, SSH: program}
		if got := r.Lookup(t.Context(), sshconfig.Query{Host: "web"}); got.Port != 0 || started() {
			t.Errorf("with %s: Lookup = %+v, ssh started: %t", file, got, started())
		}
	}
	r := sshconfig.Resolver{File: write(t, "Port 2201\n"), SSH: program}
	r.Lookup(t.Context(), sshconfig.Query{Host: "web"})
	if !started() {
		t.Error("ssh was not started for a file that says something")
	}
}

func TestHomeOfTheEnvironmentCounts(t *testing.T) {
	needSSH(t)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"config": "Include more\nHost web\n  IdentityFile ~/key\n", "more": "Host web\n  User me\n"} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := sshconfig.Resolver{Home: home, User: "you", SSH: "none"}
	got := r.Lookup(t.Context(), sshconfig.Query{Host: "web"})
	if diff := cmp.Diff(sshconfig.Settings{User: "me", IdentityFiles: []string{home + "/key"}}, got); diff != "" {
		t.Errorf("Lookup (-want +got):\n%s", diff)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("Host web !x*\n  Port 22\nMatch exec \"a\"\nInclude \"x\n  ProxyCommand %h %\n", "web")
	f.Fuzz(func(t *testing.T, config, host string) {
		r := sshconfig.Resolver{Home: "/nonexistent", File: write(t, strings.ReplaceAll(strings.ToLower(config), "include", "")), User: "me", SSH: "none"}
		r.Lookup(t.Context(), sshconfig.Query{Host: host})
	})
}
