package sshauth_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/sshauth"
	"vxorch/remote/sshconn"
)

// keygen makes files with ssh-keygen.
func keygen(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
	}
}

// newKey makes a key file of that kind.
func newKey(t *testing.T, passphrase string, kind ...string) (file string, public ssh.PublicKey) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	keygen(t, append([]string{"-f", file, "-N", passphrase, "-C", ""}, kind...)...)
	line, err := os.ReadFile(file + ".pub")
	must(t, err)
	public, _, _, _, err = ssh.ParseAuthorizedKey(line)
	must(t, err)
	return file, public
}

func target(s *sshdtest.Server) sshconn.Target {
	return sshconn.Target{Address: s.Address, Port: s.Port, User: s.User, Identity: []string{s.Identity}, KnownHosts: []string{s.KnownHosts}}
}

// answers answers every question with the next of them, and counts.
func answers(list ...string) (*sshauth.Secrets, *atomic.Int32) {
	var asked atomic.Int32
	return sshauth.NewSecrets(func(context.Context, sshauth.Question) (string, error) {
		n := int(asked.Add(1))
		if n > len(list) {
			return "", sshauth.ErrNoAnswer
		}
		return list[n-1], nil
	}), &asked
}

func dial(t *testing.T, tgt sshconn.Target, opts sshconn.Options) error {
	t.Helper()
	if opts.Home == "" {
		opts.Home = "/nonexistent"
	}
	conn, err := sshconn.Dial(t.Context(), tgt, opts)
	if err == nil {
		conn.Close()
	}
	return err
}

// refused checks that err is a refusal that says all of words.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	e := hostapi.AsError(err)
	if !errors.Is(err, hostapi.ErrAuth) {
		t.Fatalf("Dial = %v, want ErrAuth", err)
	}
	for _, w := range words {
		if !strings.Contains(e.Message+"\n"+e.Hint, w) {
			t.Errorf("Dial: %s\n%s\ndoes not mention %q", e.Message, e.Hint, w)
		}
	}
}

func TestKeysInEveryUsualFormat(t *testing.T) {
	for name, kind := range map[string][]string{
		"OpenSSH ed25519": {"-t", "ed25519"},
		"OpenSSH RSA":     {"-t", "rsa", "-b", "2048"},
		"PEM RSA":         {"-t", "rsa", "-b", "2048", "-m", "PEM"},
		"PKCS8 RSA":       {"-t", "rsa", "-b", "2048", "-m", "PKCS8"},
		"PEM ECDSA":       {"-t", "ecdsa", "-m", "PEM"},
		"PKCS8 ECDSA":     {"-t", "ecdsa", "-b", "384", "-m", "PKCS8"},
		"PKCS8 ed25519":   {"-t", "ed25519", "-m", "PKCS8"},
	} {
		t.Run(name, func(t *testing.T) {
			plain, public := newKey(t, "", kind...)
			encrypted, public2 := newKey(t, "secret", kind...)
			tgt := target(sshdtest.Start(t, sshdtest.Config{Authorize: []ssh.PublicKey{public, public2}}))
			tgt.Identity = []string{plain}
			must(t, dial(t, tgt, sshconn.Options{}))

			tgt.Identity = []string{encrypted}
			secrets, _ := answers()
			secrets.Passphrases = []string{"other", "secret"}
			must(t, dial(t, tgt, sshconn.Options{Secrets: secrets}))
			// Without its public part beside, an old format has to be opened to be offered.
			must(t, os.Remove(encrypted+".pub"))
			secrets, asked := answers("wrong", "secret")
			must(t, dial(t, tgt, sshconn.Options{Secrets: secrets}))
			if asked.Load() != 2 {
				t.Errorf("asked %d times, want twice", asked.Load())
			}
		})
	}
}

func TestPassphraseIsAskedOnceARun(t *testing.T) {
	file, public := newKey(t, "secret", "-t", "ed25519")
	lets := sshdtest.Start(t, sshdtest.Config{Authorize: []ssh.PublicKey{public}})
	letsNot := sshdtest.Start(t, sshdtest.Config{})
	secrets, asked := answers("secret")

	tgt := target(letsNot)
	tgt.Identity = []string{file}
	refused(t, dial(t, tgt, sshconn.Options{Secrets: secrets}), file)
	if asked.Load() != 0 {
		t.Errorf("asked for the passphrase of a key that the host does not take")
	}

	tgt = target(lets)
	tgt.Identity = []string{file}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			if err := dial(t, tgt, sshconn.Options{Secrets: secrets}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if asked.Load() != 1 {
		t.Errorf("asked %d times for four hosts, want once", asked.Load())
	}
}

func TestAKeyThatNobodyOpensIsLeftOut(t *testing.T) {
	locked, public := newKey(t, "secret", "-t", "ed25519")
	s := sshdtest.Start(t, sshdtest.Config{Authorize: []ssh.PublicKey{public}})
	secrets, asked := answers("") // an empty answer skips it
	tgt := target(s)
	tgt.Identity = []string{locked, s.Identity}
	must(t, dial(t, tgt, sshconn.Options{Secrets: secrets}))
	tgt.Identity = []string{locked}
	refused(t, dial(t, tgt, sshconn.Options{Secrets: secrets}), locked, "is encrypted")
	if asked.Load() != 1 {
		t.Errorf("asked %d times, want once", asked.Load())
	}
}

func TestKeysThatAreNoUseAreNamed(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	dsa, _ := newKey(t, "", "-t", "dsa")
	public, _ := newKey(t, "", "-t", "ed25519")
	for what, c := range map[string]struct {
		file  string
		words []string
	}{
		"DSA":               {dsa, []string{dsa, "DSA", "ed25519"}},
		"public part alone": {public + ".pub", []string{"public key", "ssh-add"}},
	} {
		t.Run(what, func(t *testing.T) {
			tgt := target(s)
			tgt.Identity = []string{c.file}
			refused(t, dial(t, tgt, sshconn.Options{}), c.words...)
			tgt.Identity, tgt.MaybeIdentity = nil, []string{c.file, "/nonexistent/key", s.Identity}
			must(t, dial(t, tgt, sshconn.Options{})) // ssh_config's is left out
		})
	}
}

func TestCertificates(t *testing.T) {
	ca, _ := newKey(t, "", "-t", "ed25519")
	key, _ := newKey(t, "", "-t", "ed25519")
	s := sshdtest.Start(t, sshdtest.Config{Lines: []string{"TrustedUserCAKeys " + ca + ".pub", "AuthorizedKeysFile none"}})
	tgt := target(s)
	tgt.Identity = []string{key}
	refused(t, dial(t, tgt, sshconn.Options{}), key)

	keygen(t, "-s", ca, "-I", "me", "-n", s.User, key+".pub")
	certificate := key + "-cert.pub"
	must(t, dial(t, tgt, sshconn.Options{})) // beside the key

	held := serveAgent(t, key, certificate)
	elsewhere := filepath.Join(t.TempDir(), "certificate")
	must(t, os.Rename(certificate, elsewhere))
	tgt.Certificates = []string{"/nonexistent/certificate", elsewhere}
	must(t, dial(t, tgt, sshconn.Options{})) // named

	tgt.Certificates, tgt.IdentitiesOnly = nil, true
	must(t, dial(t, tgt, sshconn.Options{AgentSocket: held})) // the agent's, for a configured key

	locked := filepath.Join(t.TempDir(), "locked")
	text, err := os.ReadFile(key)
	must(t, err)
	must(t, os.WriteFile(locked, text, 0o600))
	keygen(t, "-p", "-N", "secret", "-f", locked)
	tgt.Identity, tgt.Certificates = []string{locked}, []string{elsewhere}
	secrets, asked := answers("secret")
	must(t, dial(t, tgt, sshconn.Options{Secrets: secrets}))
	if asked.Load() != 1 {
		t.Errorf("asked %d times, want once", asked.Load())
	}
}

func TestIdentitiesOnlyKeepsTheAgentsOthersBack(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	other, _ := newKey(t, "", "-t", "ed25519")
	socket := serveAgent(t, other, "")
	tgt := target(s)
	tgt.Identity, tgt.IdentitiesOnly = nil, true
	refused(t, dial(t, tgt, sshconn.Options{AgentSocket: socket}), "no key to offer")
	// The private part is the agent's, the file says which.
	tgt = target(s)
	line, err := exec.Command("ssh-keygen", "-y", "-f", s.Identity).Output()
	must(t, err)
	public := filepath.Join(t.TempDir(), "id.pub")
	must(t, os.WriteFile(public, line, 0o600))
	tgt.Identity, tgt.IdentitiesOnly, tgt.Agent = []string{public}, true, serveAgent(t, s.Identity, "")
	must(t, dial(t, tgt, sshconn.Options{AgentSocket: socket}))
	tgt.Agent = "none"
	refused(t, dial(t, tgt, sshconn.Options{AgentSocket: socket}), "public key")
}

func TestPasswords(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{Account: &sshdtest.Account{}, Lines: []string{"PasswordAuthentication yes", "PubkeyAuthentication no"}})
	tgt := target(s)
	tgt.Identity = nil
	refused(t, dial(t, tgt, sshconn.Options{}), "it accepts password", "VXORCH_PASSWORD_FILE")

	secrets, asked := answers("wrong", sshdtest.AccountPassword)
	for range 2 {
		must(t, dial(t, tgt, sshconn.Options{Secrets: secrets}))
	}
	if asked.Load() != 2 {
		t.Errorf("asked %d times, want twice: once wrongly answered", asked.Load())
	}

	secrets = sshauth.NewSecrets(nil)
	secrets.Password = sshdtest.AccountPassword
	must(t, dial(t, tgt, sshconn.Options{Secrets: secrets}))
	secrets = sshauth.NewSecrets(nil)
	secrets.Password = "wrong"
	before := strings.Count(s.Log(t), "Failed password")
	err := dial(t, tgt, sshconn.Options{Secrets: secrets})
	refused(t, err, "a password", "is it that user's password")
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("Dial: %v has the password in it", err)
	}
	if n := strings.Count(s.Log(t), "Failed password") - before; n > 1 {
		t.Errorf("a wrong password was tried %d times, want once", n)
	}
}

func TestKeyboardInteractive(t *testing.T) {
	pam := filepath.Join(t.TempDir(), "pam")
	must(t, os.WriteFile(pam, []byte("auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n"), 0o644))
	s := sshdtest.Start(t, sshdtest.Config{
		Account: &sshdtest.Account{Setup: "mount --bind " + pam + " /etc/pam.d/sshd"},
		Lines:   []string{"UsePAM yes", "KbdInteractiveAuthentication yes", "PasswordAuthentication no", "AuthenticationMethods publickey,keyboard-interactive"},
	})
	secrets, asked := answers(sshdtest.AccountPassword)
	for range 2 {
		must(t, dial(t, target(s), sshconn.Options{Secrets: secrets}))
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times, want once", asked.Load())
	}
	refused(t, dial(t, target(s), sshconn.Options{}), "it accepts keyboard-interactive", "VXORCH_PASSWORD_FILE")
}

// serveAgent serves an agent that holds the key in file, and a certificate for
// it unless that is empty.
func serveAgent(t *testing.T, file, certificate string) (socket string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	key, err := ssh.ParseRawPrivateKey(text)
	must(t, err)
	keyring := agent.NewKeyring()
	must(t, keyring.Add(agent.AddedKey{PrivateKey: key}))
	if certificate != "" {
		line, err := os.ReadFile(certificate)
		must(t, err)
		public, _, _, _, err := ssh.ParseAuthorizedKey(line)
		must(t, err)
		must(t, keyring.Add(agent.AddedKey{PrivateKey: key, Certificate: public.(*ssh.Certificate)}))
	}
	dir, err := os.MkdirTemp("", "a") // the path of a socket must be short
	must(t, err)
	socket = filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(keyring, conn)
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); os.RemoveAll(dir) })
	return socket
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
