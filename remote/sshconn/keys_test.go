package sshconn_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/sshconn"
)

// serveAgent serves an agent that holds keys on a socket.
func serveAgent(t *testing.T, keys ...any) (socket string) {
	t.Helper()
	keyring := agent.NewKeyring()
	for _, k := range keys {
		if err := keyring.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(keyring, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended; os.RemoveAll(dir) })
	return socket
}

// privateKey reads what the server lets in.
func privateKey(t *testing.T, s *sshdtest.Server) any {
	t.Helper()
	pem, err := os.ReadFile(s.Identity)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeysAreFound(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	other := filepath.Join(t.TempDir(), "other")
	sshdtest.WriteKey(t, other, sshdtest.NewKey(t).Private(), "")
	encrypted := filepath.Join(t.TempDir(), "encrypted")
	sshdtest.WriteKey(t, encrypted, privateKey(t, s), "secret")
	home := t.TempDir()
	copyFile(t, s.Identity, filepath.Join(home, ".ssh", "id_ed25519"))
	copyFile(t, other, filepath.Join(home, ".ssh", "id_ecdsa"))
	for what, c := range map[string]struct {
		identity []string
		opts     sshconn.Options
	}{
		"in a configured file":            {[]string{s.Identity}, sshconn.Options{}},
		"in the second file":              {[]string{other, s.Identity}, sshconn.Options{}},
		"in a file at home":               {[]string{"~/.ssh/id_ed25519"}, sshconn.Options{Home: home}},
		"in a usual file":                 {nil, sshconn.Options{Home: home}},
		"in the agent":                    {nil, sshconn.Options{Home: t.TempDir(), AgentSocket: serveAgent(t, privateKey(t, s))}},
		"in the agent behind a file":      {[]string{other}, sshconn.Options{AgentSocket: serveAgent(t, privateKey(t, s))}},
		"in the agent, encrypted on disk": {[]string{encrypted}, sshconn.Options{AgentSocket: serveAgent(t, privateKey(t, s))}},
		"in a file, without the agent":    {[]string{s.Identity}, sshconn.Options{AgentSocket: "/nonexistent/agent"}},
	} {
		t.Run(what, func(t *testing.T) {
			tgt := target(s)
			tgt.Identity = c.identity
			dial(t, tgt, c.opts)
		})
	}
}

func TestConfiguredKeyIsOfferedBeforeTheAgents(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{Lines: []string{"MaxAuthTries 2"}})
	var held []any
	for range 10 {
		held = append(held, sshdtest.NewKey(t).Private())
	}
	socket := serveAgent(t, held...)
	dial(t, target(s), sshconn.Options{AgentSocket: socket})

	tgt := target(s)
	tgt.Identity = nil
	refused(t, tgt, sshconn.Options{Home: t.TempDir(), AgentSocket: socket}, hostapi.ErrAuth, "(the agent)", "Too many authentication failures", "ssh.identity")
}

func TestRefusedKeysAreListed(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	key, held := sshdtest.NewKey(t), sshdtest.NewKey(t)
	file := filepath.Join(t.TempDir(), "key")
	sshdtest.WriteKey(t, file, key.Private(), "")
	tgt := target(s)
	tgt.Identity = []string{file}
	refused(t, tgt, sshconn.Options{AgentSocket: serveAgent(t, held.Private())}, hostapi.ErrAuth,
		"ssh-ed25519 "+ssh.FingerprintSHA256(key.PublicKey())+" ("+file+")", ssh.FingerprintSHA256(held.PublicKey())+" (the agent)", "accepts publickey", fmt.Sprintf("ssh-copy-id -p %d ", s.Port))
}

func TestUnusableKeys(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	dir := t.TempDir()
	encrypted := filepath.Join(dir, "encrypted")
	sshdtest.WriteKey(t, encrypted, privateKey(t, s), "secret")
	rubbish := filepath.Join(dir, "rubbish")
	if err := os.WriteFile(rubbish, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		identity string
		words    []string
	}{
		"encrypted": {encrypted, []string{encrypted + " is encrypted", "ssh-add " + encrypted}},
		"missing":   {filepath.Join(dir, "missing"), []string{"no such file", "ssh.identity"}},
		"no key":    {rubbish, []string{rubbish, "no key found"}},
	} {
		t.Run(what, func(t *testing.T) {
			tgt := target(s)
			tgt.Identity = []string{c.identity}
			refused(t, tgt, sshconn.Options{}, hostapi.ErrAuth, c.words...)
		})
	}
	t.Run("none at all", func(t *testing.T) {
		tgt := target(s)
		tgt.Identity = nil
		refused(t, tgt, sshconn.Options{Home: t.TempDir()}, hostapi.ErrAuth, "no key to offer", "ssh-add")
	})
	t.Run("usual one, encrypted", func(t *testing.T) {
		home := t.TempDir()
		copyFile(t, encrypted, filepath.Join(home, ".ssh", "id_rsa"))
		tgt := target(s)
		tgt.Identity = nil
		refused(t, tgt, sshconn.Options{Home: home}, hostapi.ErrAuth, "no key to offer", "id_rsa is encrypted")
	})
}
