// Package sshdtest runs a real OpenSSH server for one test: on a port of its
// own, with its own configuration and keys, for the user who runs the test or
// one made for it. It is for tests only.
package sshdtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"vxorch/remote/internal/ns"
)

const sshd = "/usr/sbin/sshd" // it demands an absolute path

// Config is what is particular to a server. The zero value is a usual one.
type Config struct {
	Lines     []string          // of sshd_config, before the others: of two settings the first counts
	Env       map[string]string // of the user's sessions
	NoSFTP    bool
	Account   *Account        // who logs in; nil: the user who runs the test
	Authorize []ssh.PublicKey // let in beside the key of Identity
	Address   string          // listened on; empty: 127.0.0.1
	Netns     string          // named namespace to run in; empty: that of the test
	Daemon    bool            // one process that counts connections (MaxStartups), in place of one a connection; without Account
}

// Server is a running server.
type Server struct {
	Address string
	Port    int
	User    string
	// HostKeys are the server's own, by type: ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa.
	HostKeys map[string]ssh.PublicKey
	Identity string // file of the private key that the server lets in
	// KnownHosts is a file that has the server's ed25519 key.
	KnownHosts string
	// Home and RootHome are the Account's home directory and the one that root has
	// then.
	Home, RootHome string

	log   string
	world *world // of the Account
}

// Start starts a server that ends with the test. Without OpenSSH the test is
// skipped, or fails where VXORCH_MUST_RUN says so.
func Start(t testing.TB, config Config) *Server {
	t.Helper()
	if _, err := os.Stat(sshd); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatalf("no OpenSSH server: %v", err)
		}
		t.Skipf("no OpenSSH server: %v", err)
	}
	if os.Getuid() == 0 { // sshd insists on it, and packages make it at boot
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	me, err := user.Current()
	must(t, err)
	dir := t.TempDir()
	if config.Address == "" {
		config.Address = "127.0.0.1"
	}
	var listener net.Listener
	must(t, ns.Do(config.Netns, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(config.Address, "0"))
		return err
	}))
	s := &Server{
		Address:    config.Address,
		Port:       listener.Addr().(*net.TCPAddr).Port,
		User:       me.Username,
		HostKeys:   map[string]ssh.PublicKey{},
		Identity:   filepath.Join(dir, "id"),
		KnownHosts: filepath.Join(dir, "known_hosts"),
		log:        filepath.Join(dir, "log"),
	}
	if config.Account != nil {
		s.User = AccountName
		s.world = newWorld(t, t.TempDir(), *config.Account)
		s.Home, s.RootHome = s.world.path("home/"+AccountName), s.world.path("root")
	}
	lines := slices.Clone(config.Lines)
	for _, key := range hostKeys() {
		file := filepath.Join(dir, "host_"+key.PublicKey().Type())
		WriteKey(t, file, key.private, "")
		s.HostKeys[key.PublicKey().Type()] = key.PublicKey()
		lines = append(lines, "HostKey "+file)
	}
	client := NewKey(t)
	WriteKey(t, s.Identity, client.private, "")
	authorized := filepath.Join(dir, "authorized_keys")
	var letIn []byte
	for _, key := range append([]ssh.PublicKey{client.PublicKey()}, config.Authorize...) {
		letIn = append(letIn, ssh.MarshalAuthorizedKey(key)...)
	}
	must(t, os.WriteFile(authorized, letIn, 0o600))
	if s.world != nil {
		must(t, os.WriteFile(s.world.path(accountKeys), letIn, 0o644))
		authorized = accountKeys
	}
	must(t, os.WriteFile(s.KnownHosts, []byte(s.KnownHostsLine("ssh-ed25519")), 0o600))
	lines = append(lines, "AuthorizedKeysFile "+authorized, "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PrintMotd no", "PidFile none", "LogLevel VERBOSE")
	if !config.NoSFTP {
		lines = append(lines, "Subsystem sftp internal-sftp")
	}
	if len(config.Env) > 0 {
		setenv := "SetEnv"
		for name, value := range config.Env {
			setenv += fmt.Sprintf(" %s=%q", name, value)
		}
		lines = append(lines, setenv)
	}
	conf := filepath.Join(dir, "sshd_config")
	must(t, os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	if config.Daemon {
		must(t, listener.Close())
		s.run(t, config.Netns, conf)
	} else {
		s.serve(t, listener, config.Netns, conf)
	}
	return s
}

// run runs sshd as a daemon and waits until it listens.
func (s *Server) run(t testing.TB, netns, conf string) {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	cmd := exec.Command(sshd, "-D", "-e", "-f", conf, "-o", "ListenAddress="+net.JoinHostPort(s.Address, fmt.Sprint(s.Port)))
	cmd.Stderr = log
	must(t, ns.Do(netns, cmd.Start))
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		log.Close()
		if t.Failed() {
			t.Logf("sshd's log:\n%s", s.Log(t))
		}
	})
	for !strings.Contains(s.Log(t), "Server listening on") {
		select {
		case <-ended:
			t.Fatalf("sshd ended: %s", s.Log(t))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// serve runs one sshd a connection, as inetd would: so the port is ours from
// the start, and no daemon has to be awaited.
func (s *Server) serve(t testing.TB, listener net.Listener, netns, conf string) {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	var processes []*os.Process
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			socket, err := conn.(*net.TCPConn).File()
			conn.Close()
			if err != nil {
				t.Errorf("sshd: %v", err)
				return
			}
			argv := []string{sshd, "-i", "-e", "-f", conf}
			if s.world != nil {
				argv = s.world.argv(argv)
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = socket, socket, log
			err = ns.Do(netns, cmd.Start)
			socket.Close()
			if err != nil {
				t.Errorf("sshd: %v", err)
				return
			}
			mu.Lock()
			processes = append(processes, cmd.Process)
			mu.Unlock()
			running.Go(func() { _ = cmd.Wait() })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		// It ends with its connection, and then takes its children along.
		late := time.AfterFunc(5*time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			for _, p := range processes {
				_ = p.Signal(syscall.SIGTERM)
			}
		})
		running.Wait()
		late.Stop()
		log.Close()
		if t.Failed() {
			t.Logf("sshd's log:\n%s", s.Log(t))
		}
	})
}

// Log gives what the server logged so far.
func (s *Server) Log(t testing.TB) string {
	text, err := os.ReadFile(s.log)
	must(t, err)
	return string(text)
}

// Connections tells how many connections have been made so far.
func (s *Server) Connections(t testing.TB) int {
	return strings.Count(s.Log(t), "Connection from ")
}

// Sessions tells how many sessions of any kind have been started so far.
func (s *Server) Sessions(t testing.TB) int {
	return strings.Count(s.Log(t), "Starting session:")
}

// KnownHostsLine is the line for the server's key of that type.
func (s *Server) KnownHostsLine(keyType string) string {
	return knownhosts.Line([]string{fmt.Sprintf("[%s]:%d", s.Address, s.Port)}, s.HostKeys[keyType]) + "\n"
}

// Key is a private key.
type Key struct {
	ssh.Signer
	private crypto.PrivateKey
}

// Private gives the key as an agent wants it.
func (k Key) Private() crypto.PrivateKey { return k.private }

// NewKey makes an ed25519 key.
func NewKey(t testing.TB) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return Key{signer, private}
}

// WriteKey writes private into file, encrypted unless passphrase is empty.
func WriteKey(t testing.TB, file string, private crypto.PrivateKey, passphrase string) {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
}

// hostKeys makes one key of each type, once: an RSA key takes its time.
var hostKeys = sync.OnceValue(func() []Key {
	_, edwards, err1 := ed25519.GenerateKey(rand.Reader)
	elliptical, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rivest, err3 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(err)
	}
	var keys []Key
	for _, private := range []crypto.PrivateKey{edwards, elliptical, rivest} {
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			panic(err)
		}
		keys = append(keys, Key{signer, private})
	}
	return keys
})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
