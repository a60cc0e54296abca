package sshauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vxorch/remote/hostapi"
)

// agentTimeout bounds how long the agent may take to list its keys.
const agentTimeout = 15 * time.Second

// Wanted says by which keys a host is to be reached.
type Wanted struct {
	Identity     []string // private key files, offered first and in this order; one that cannot be used is an error
	MaybeFiles   []string // the same where one that cannot be used is left out; not looked at where there is an Identity
	Certificates []string // OpenSSH certificates for some of these keys, beside those that lie beside the files
	Only         bool     // of the agent's keys, offer those that are configured
	Agent        string   // socket of the ssh-agent; empty: none
	Home         string   // whose .ssh has the usual files, which are tried where none are configured

	Ctx context.Context // reaches every question
	// Patiently runs f, which may wait for the user; nil: it just runs.
	Patiently func(f func())
	Log       *slog.Logger
}

// Keyring is what is offered to one host, in order.
type Keyring struct {
	secrets *Secrets
	wanted  Wanted
	signers []ssh.Signer
	sources []string // of signers: a file, or the agent
	skipped []string // files that could not be used, with the reason
	agent   net.Conn // nil: none

	unsigned int   // how many keys the host would have taken, had they signed
	told     int   // number of the last password that the host was told
	refusal  error // why there was nothing more to tell it
}

// Keys collects the keys for a host: configured files, then the agent's; or the
// agent's, then the usual files. The error is a *hostapi.Error.
func (s *Secrets) Keys(w Wanted) (*Keyring, error) {
	k := &Keyring{secrets: s, wanted: w}
	held := k.openAgent()
	files, must := w.Identity, len(w.Identity) > 0
	if !must {
		files = w.MaybeFiles
	}
	configured := len(files) > 0
	if !configured {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			files = append(files, filepath.Join(w.Home, ".ssh", name))
		}
		if !w.Only {
			k.add("the agent", held...)
		}
	}
	certificates := k.certificates(w.Certificates)
	for _, file := range files {
		if _, err := os.Stat(file); !configured && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		signer, err := k.readKey(w.Ctx, file, held)
		switch {
		case err == nil:
			beside, _ := readCertificate(file + "-cert.pub")
			k.add(file, certified(signer, append(slices.Clone(certificates), beside))...)
			k.add(file, signer)
		case w.Ctx.Err() != nil, must:
			k.Close()
			return nil, err
		default:
			k.skipped = append(k.skipped, err.Error())
		}
	}
	for _, signer := range held {
		if !w.Only {
			k.add("the agent", certified(signer, certificates)...)
			k.add("the agent", signer) // unless it is in already
		} else if certificate := certificateOf(signer); certificate != nil && k.has(certificate.Key) {
			k.addFirst("the agent", signer)
		}
	}
	return k, nil
}

// certificates reads the configured certificate files.
func (k *Keyring) certificates(files []string) []*ssh.Certificate {
	var read []*ssh.Certificate
	for _, file := range files {
		certificate, err := readCertificate(file)
		if err != nil {
			k.skipped = append(k.skipped, fmt.Sprintf("certificate %s: %v", file, err))
			continue
		}
		read = append(read, certificate)
	}
	return read
}

// certified gives signer with those of the certificates that are for its key;
// nil among them is none.
func certified(signer ssh.Signer, certificates []*ssh.Certificate) []ssh.Signer {
	var signers []ssh.Signer
	for _, c := range certificates {
		if c == nil {
			continue
		}
		if s, err := ssh.NewCertSigner(c, signer); err == nil {
			signers = append(signers, s)
		}
	}
	return signers
}

// certificateOf gives the certificate that an agent's key is; nil: it is none.
func certificateOf(signer ssh.Signer) *ssh.Certificate {
	public, err := ssh.ParsePublicKey(signer.PublicKey().Marshal())
	if err != nil {
		return nil
	}
	certificate, _ := public.(*ssh.Certificate)
	return certificate
}

// openAgent gives the agent's keys. An agent that cannot be asked is no error:
// ssh does without, too.
func (k *Keyring) openAgent() []ssh.Signer {
	if k.wanted.Agent == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(k.wanted.Ctx, agentTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", k.wanted.Agent)
	if err != nil {
		k.wanted.Log.Warn("ssh: the agent cannot be asked", "error", err)
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	signers, err := agent.NewClient(conn).Signers()
	if !stop() || err != nil {
		conn.Close()
		k.wanted.Log.Warn("ssh: the agent does not list its keys", "error", err)
		return nil
	}
	k.agent = conn
	return signers
}

// add appends those that are not in yet.
func (k *Keyring) add(source string, signers ...ssh.Signer) {
	for _, s := range signers {
		if !k.has(s.PublicKey()) {
			k.signers = append(k.signers, &watched{s, k})
			k.sources = append(k.sources, source)
		}
	}
}

func (k *Keyring) addFirst(source string, signer ssh.Signer) {
	k.signers = slices.Insert(k.signers, 0, ssh.Signer(&watched{signer, k}))
	k.sources = slices.Insert(k.sources, 0, source)
}

func (k *Keyring) has(key ssh.PublicKey) bool { return find(k.signers, key) != nil }

// Close ends the connection to the agent.
func (k *Keyring) Close() {
	if k.agent != nil {
		k.agent.Close()
	}
}

// patiently runs f, which may take as long as the user does.
func (k *Keyring) patiently(f func()) {
	if k.wanted.Patiently == nil {
		f()
		return
	}
	k.wanted.Patiently(f)
}

// watched is a key whose signature may fail: a passphrase is not told, an
// agent's user declines. Then the others are tried without it.
type watched struct {
	ssh.Signer
	keyring *Keyring
}

func (w *watched) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (signature *ssh.Signature, err error) {
	w.keyring.patiently(func() {
		if able, ok := w.Signer.(ssh.AlgorithmSigner); ok {
			signature, err = able.SignWithAlgorithm(rand, data, algorithm)
			return
		}
		signature, err = w.Signer.Sign(rand, data)
	})
	if err != nil {
		k := w.keyring
		i := slices.Index(k.signers, ssh.Signer(w))
		k.skipped = append(k.skipped, fmt.Sprintf("%s: %v", k.sources[i], err))
		k.unsigned++
		// Those before it have been refused.
		k.signers, k.sources = k.signers[i+1:], k.sources[i+1:]
	}
	return signature, err
}

// find gives the one of signers with that key.
func find(signers []ssh.Signer, key ssh.PublicKey) ssh.Signer {
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), key.Marshal()) {
			return s
		}
	}
	return nil
}

// Refused is the error of a host at address and port that accepts methods, but
// nothing that user had to offer.
func (k *Keyring) Refused(user, address string, port int, methods []string, cause error) *hostapi.Error {
	var offered []string
	for i, s := range k.signers {
		offered = append(offered, fmt.Sprintf("%s %s (%s)", s.PublicKey().Type(), ssh.FingerprintSHA256(s.PublicKey()), k.sources[i]))
	}
	if k.told > 0 {
		offered = append(offered, "a password")
	}
	e := hostapi.Errorf(hostapi.KindAuth, fmt.Sprintf("let the key in on the host: ssh-copy-id -p %d %s@%s", port, user, address),
		"the host refused user %q: offered %s; it accepts %s", user, strings.Join(offered, ", "), strings.Join(methods, ", "))
	asks := slices.Contains(methods, "password") || slices.Contains(methods, "keyboard-interactive")
	switch {
	case len(offered) == 0:
		e.Message = fmt.Sprintf("the host refused user %q: there was no key to offer; it accepts %s", user, strings.Join(methods, ", "))
		e.Hint = "load a key into the ssh-agent (ssh-add), or name one as ssh.identity in the inventory"
	case k.told > 0:
		e.Hint = "is it that user's password, and does the host let the user in by password?"
	case len(k.signers) > 5: // sshd looks at six by default (MaxAuthTries)
		e.Hint = "sshd looks at the first few keys only: name the right one as ssh.identity in the inventory"
	}
	if slices.ContainsFunc(k.skipped, func(s string) bool { return strings.Contains(s, "is encrypted") }) {
		e.Hint += "; for an encrypted key without a terminal, let VXORCH_PASSPHRASE_FILE name a file that has its passphrase"
	}
	if asks && k.told == 0 && !k.secrets.mayPassword() {
		e.Hint += "; a password is asked on a terminal only: without one, let VXORCH_PASSWORD_FILE name a file that has it"
	}
	if slices.Equal(methods, []string{"gssapi-with-mic"}) || slices.Equal(methods, []string{"hostbased"}) {
		e.Hint = "that is for the system's ssh to do: `ssh: {transport: openssh}` in the inventory"
	}
	if len(k.skipped) > 0 {
		e.Message += "; not offered: " + strings.Join(k.skipped, ", ")
	}
	// The library's "unable to authenticate" says less than is said here already.
	if text := cause.Error(); !strings.Contains(text, "unable to authenticate") && !errors.Is(cause, ErrNoAnswer) && len(k.skipped) == 0 {
		e.Message += fmt.Sprintf(" (%v)", cause)
	}
	return e
}
