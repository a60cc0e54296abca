package sshconn_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/sshconn"
)

// knownHosts writes a file of those lines.
func knownHosts(t *testing.T, lines ...string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{file}
}

// foreignLine is a line with a key of that server's type ed25519 that is not its.
func foreignLine(t *testing.T, s *sshdtest.Server) (line, fingerprint string) {
	key := sshdtest.NewKey(t).PublicKey()
	return knownhosts.Line([]string{fmt.Sprintf("[%s]:%d", s.Address, s.Port)}, key) + "\n", ssh.FingerprintSHA256(key)
}

func TestKnownHostIsRecognised(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	name := fmt.Sprintf("[%s]:%d", s.Address, s.Port)
	key := strings.TrimPrefix(s.KnownHostsLine("ssh-ed25519"), name)
	foreign, _ := foreignLine(t, s)
	_, foreignKey, _ := strings.Cut(foreign, " ")
	for what, lines := range map[string][]string{
		"by its ed25519 key":       {s.KnownHostsLine("ssh-ed25519")},
		"by its ecdsa key":         {s.KnownHostsLine("ecdsa-sha2-nistp256")},
		"by its rsa key":           {s.KnownHostsLine("ssh-rsa")},
		"by several keys":          {s.KnownHostsLine("ssh-rsa"), s.KnownHostsLine("ssh-ed25519")},
		"by a hashed name":         {knownhosts.HashHostname(name) + key},
		"by a wildcard":            {"127.0.0.*" + key},
		"by its name without port": {"127.0.0.1" + strings.TrimPrefix(s.KnownHostsLine("ssh-rsa"), name)},
		"by the second of its two": {foreign, s.KnownHostsLine("ssh-ed25519")},
		"beside another host":      {"other.example " + foreignKey, s.KnownHostsLine("ecdsa-sha2-nistp256")},
		"behind a line that cannot be read": {"other.example ssh-ed25519 AAAA!\n", name + " 2048 35 1234567\n",
			name + " ssh-future AAAACnNzaC1mdXR1cmU=\n", s.KnownHostsLine("ssh-rsa")},
	} {
		t.Run(what, func(t *testing.T) {
			tgt := target(s)
			tgt.KnownHosts = knownHosts(t, lines...)
			dial(t, tgt, sshconn.Options{})
		})
	}
	t.Run("by a later file", func(t *testing.T) {
		tgt := target(s)
		tgt.KnownHosts = []string{"/nonexistent/known_hosts", os.DevNull, s.KnownHosts}
		dial(t, tgt, sshconn.Options{})
	})
	t.Run("by the file at home", func(t *testing.T) {
		home := t.TempDir()
		copyFile(t, s.KnownHosts, filepath.Join(home, ".ssh", "known_hosts"))
		tgt := target(s)
		tgt.KnownHosts = nil
		dial(t, tgt, sshconn.Options{Home: home})
	})
}

func TestStrangeHostIsRefused(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	name := fmt.Sprintf("[%s]:%d", s.Address, s.Port)
	own := ssh.FingerprintSHA256(s.HostKeys["ssh-ed25519"])
	foreign, foreignFingerprint := foreignLine(t, s)
	_, foreignKey, _ := strings.Cut(foreign, " ")
	rsa := s.KnownHostsLine("ssh-rsa")
	rsaKey := strings.Fields(rsa)[2]
	for what, c := range map[string]struct {
		lines     []string
		acceptNew bool
		words     []string // FILE stands for the file
	}{
		"unknown":                   {nil, false, []string{"unknown", "SHA256:", fmt.Sprintf("ssh-keyscan -p %d 127.0.0.1 >> FILE", s.Port), "accept_new: true", "host_key: SHA256:", "host1"}},
		"changed":                   {[]string{"# a comment\n", foreign}, false, []string{"changed", own, foreignFingerprint, "FILE:2", "ssh-keygen -R"}},
		"changed, though new is ok": {[]string{foreign}, true, []string{"changed", own, foreignFingerprint, "FILE:1"}},
		"known by a type that it does not have": {[]string{name + " ssh-rsa " + otherRSA + "\n"}, false,
			[]string{"changed", "FILE:1", ssh.FingerprintSHA256(s.HostKeys["ssh-rsa"])}},
		"revoked":                         {[]string{s.KnownHostsLine("ssh-ed25519"), "@revoked * " + strings.TrimPrefix(s.KnownHostsLine("ssh-ed25519"), name+" ")}, false, nil},
		"only by a line cut short":        {[]string{name + " ssh-rsa " + rsaKey[:40] + "\n"}, false, []string{"cannot be read", "FILE:1", "mend"}},
		"so, though new is ok":            {[]string{name + " ssh-rsa !\n"}, true, []string{"cannot be read", "FILE:1"}},
		"hashed in a line cut short":      {[]string{"\n", knownhosts.HashHostname(name) + " ssh-rsa !\n"}, true, []string{"cannot be read", "FILE:2"}},
		"changed behind a broken line":    {[]string{"other !\n", foreign}, false, []string{"changed", "FILE:2"}},
		"certified by another":            {[]string{"@cert-authority * " + foreignKey}, false, []string{"without a certificate", foreignFingerprint}},
		"an authority in a broken line":   {[]string{"@cert-authority * ssh-rsa !\n"}, true, []string{"cannot be read", "FILE:1"}},
		"known under another port's name": {[]string{"[127.0.0.1]:1 " + strings.TrimPrefix(rsa, name+" ")}, false, []string{"unknown"}},
	} {
		t.Run(what, func(t *testing.T) {
			tgt := target(s)
			tgt.AcceptNew = c.acceptNew
			tgt.KnownHosts = knownHosts(t, c.lines...)
			for i, w := range c.words {
				c.words[i] = strings.ReplaceAll(w, "FILE", tgt.KnownHosts[0])
			}
			conn, err := sshconn.Dial(t.Context(), tgt, sshconn.Options{})
			if err == nil {
				conn.Close()
				t.Fatal("Dial succeeded")
			}
			e := hostapi.AsError(err)
			if e.Kind != hostapi.KindHostKey {
				t.Errorf("Dial: %v, of kind %d", err, e.Kind)
			}
			for _, w := range c.words {
				if !strings.Contains(e.Message+"\n"+e.Hint, w) {
					t.Errorf("Dial: %s\n%s\ndoes not mention %q", e.Message, e.Hint, w)
				}
			}
			if after, _ := os.ReadFile(tgt.KnownHosts[0]); string(after) != strings.Join(c.lines, "") {
				t.Errorf("known_hosts is now %q", after)
			}
		})
	}
}

// otherRSA is a public RSA key that no server here has.
const otherRSA = "AAAAB3NzaC1yc2EAAAADAQABAAAAgQDAn/tbXFcVFEXeBjKIwPm4ivsbq3u1n+aBaRKFeJq9BG6vTgjYGjPsbWEjJh6mA6l7JHPjvEoZbBbcZbBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBwBw=="

func TestBadLinesAreWarnedOf(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	var log bytes.Buffer
	tgt := target(s)
	tgt.KnownHosts = knownHosts(t, s.KnownHostsLine("ssh-ed25519"), "other.example ssh-rsa !\n")
	dial(t, tgt, sshconn.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got := log.String(); !strings.Contains(got, "file="+tgt.KnownHosts[0]+" line=2") || !strings.Contains(got, "base64") {
		t.Errorf("logged %q", got)
	}
}

func TestPinnedKeyDecidesAlone(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	foreign, foreignFingerprint := foreignLine(t, s)
	for keyType, key := range s.HostKeys {
		t.Run(keyType, func(t *testing.T) {
			tgt := target(s)
			tgt.KnownHosts = knownHosts(t, foreign)
			tgt.HostKey = ssh.FingerprintSHA256(key)
			dial(t, tgt, sshconn.Options{})
		})
	}
	t.Run("another", func(t *testing.T) {
		tgt := target(s)
		tgt.HostKey = foreignFingerprint
		words := []string{"pinned " + foreignFingerprint}
		for _, key := range s.HostKeys {
			words = append(words, ssh.FingerprintSHA256(key))
		}
		refused(t, tgt, sshconn.Options{}, hostapi.ErrHostKey, words...)
	})
	t.Run("no fingerprint", func(t *testing.T) {
		tgt := target(s)
		tgt.HostKey = "MD5:12:34"
		refused(t, tgt, sshconn.Options{}, &hostapi.Error{Kind: hostapi.KindInvalid}, "MD5:12:34", "SHA256")
	})
}

func TestAuthoritiesOfHosts(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ssh-keygen", append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	ca, key := filepath.Join(dir, "ca"), filepath.Join(dir, "host")
	run("-t", "ed25519", "-N", "", "-f", ca)
	run("-t", "ed25519", "-N", "", "-f", key)
	run("-s", ca, "-I", "host", "-h", "-n", "127.0.0.1,lab", key+".pub")
	s := sshdtest.Start(t, sshdtest.Config{Lines: []string{"HostKey " + key, "HostCertificate " + key + "-cert.pub"}})
	authority, err := os.ReadFile(ca + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	tgt := target(s)
	for _, pattern := range []string{"*", "127.0.0.*", fmt.Sprintf("[127.0.0.1]:%d", s.Port)} {
		tgt.KnownHosts = knownHosts(t, "@cert-authority "+pattern+" "+string(authority))
		dial(t, tgt, sshconn.Options{})
	}
	tgt.KnownHosts = knownHosts(t, "@cert-authority * "+string(authority), "@revoked * "+string(authority))
	refused(t, tgt, sshconn.Options{}, hostapi.ErrHostKey)

	tgt.KnownHosts, tgt.KeyName = knownHosts(t, "@cert-authority lab "+string(authority)), "lab"
	dial(t, tgt, sshconn.Options{})
}

func TestKeyNameStandsForTheHost(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	_, key, _ := strings.Cut(s.KnownHostsLine("ssh-ed25519"), " ")
	tgt := target(s)
	tgt.KeyName = "Lab"
	tgt.KnownHosts = knownHosts(t, "lab "+key)
	dial(t, tgt, sshconn.Options{})
	tgt.KnownHosts = knownHosts(t, s.KnownHostsLine("ssh-ed25519"))
	refused(t, tgt, sshconn.Options{}, hostapi.ErrHostKey, "unknown")
	tgt.KnownHosts, tgt.AcceptNew = []string{filepath.Join(t.TempDir(), "known_hosts")}, true
	dial(t, tgt, sshconn.Options{})
	if line, _ := os.ReadFile(tgt.KnownHosts[0]); !strings.HasPrefix(string(line), "lab ssh-") {
		t.Errorf("learned %q, want it under lab", line)
	}
}

// What ssh_config says by UserKnownHostsFile /dev/null.
func TestADeviceStaysOne(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	link := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	tgt := target(s)
	tgt.AcceptNew, tgt.KnownHosts = true, []string{link}
	before, _ := os.Stat(os.DevNull)
	dial(t, tgt, sshconn.Options{})
	if after, err := os.Stat(os.DevNull); err != nil || after.Mode() != before.Mode() {
		t.Errorf("the device is now %v, %v", after.Mode(), err)
	}
}

func TestAFileThatCannotBeWrittenIsAWarning(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	var log bytes.Buffer
	tgt := target(s)
	tgt.AcceptNew, tgt.KnownHosts = true, []string{"/proc/no/known_hosts"}
	dial(t, tgt, sshconn.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "could not be kept") {
		t.Errorf("logged %q", log.String())
	}
}

func TestNewHostIsLearnedUnderTheNameDialled(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	home := t.TempDir()
	tgt := target(s)
	tgt.Address, tgt.KnownHosts, tgt.AcceptNew = "localhost", nil, true
	dial(t, tgt, sshconn.Options{Home: home})

	dir := filepath.Join(home, ".ssh")
	file := filepath.Join(dir, "known_hosts")
	line, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if name, _, _ := strings.Cut(string(line), " "); name != fmt.Sprintf("[localhost]:%d", s.Port) {
		t.Errorf("learned %q, want the name dialled", line)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %o", path, info.Mode(), err, mode)
		}
	}
	tgt.AcceptNew = false
	dial(t, tgt, sshconn.Options{Home: home})
	if again, _ := os.ReadFile(file); !bytes.Equal(again, line) {
		t.Errorf("known_hosts is %q after a second Dial, was %q", again, line)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left in %s: %v", dir, entries)
	}
}

func TestLearningKeepsWhatIsThere(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	before := "# mine\nother.example ssh-rsa !" // no newline at the end
	files := knownHosts(t, before)
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(files[0], link); err != nil {
		t.Fatal(err)
	}
	tgt := target(s)
	tgt.KnownHosts, tgt.AcceptNew = []string{link}, true
	dial(t, tgt, sshconn.Options{})
	after, err := os.ReadFile(files[0])
	if err != nil || !strings.HasPrefix(string(after), before+"\n[127.0.0.1]:") || !strings.HasSuffix(string(after), "\n") {
		t.Errorf("known_hosts is %q, %v", after, err)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is now %v", info.Mode())
	}
	if info, _ := os.Stat(link); info.Mode().Perm() != 0o644 {
		t.Errorf("the file's mode is now %v", info.Mode())
	}
}

func TestManyLearnAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	var want []string
	var running sync.WaitGroup
	for range 3 {
		s := sshdtest.Start(t, sshdtest.Config{})
		want = append(want, fmt.Sprintf("[127.0.0.1]:%d", s.Port))
		tgt := target(s)
		tgt.KnownHosts, tgt.AcceptNew = []string{file}, true
		for range 2 { // each host twice
			running.Go(func() {
				conn, err := sshconn.Dial(t.Context(), tgt, sshconn.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			})
		}
	}
	running.Wait()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		got[name]++
	}
	wanted := map[string]int{}
	for _, name := range want {
		wanted[name] = 1
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("lines a host (-want +got):\n%s", diff)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
