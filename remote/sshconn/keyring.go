package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vxorch/remote/hostapi"
)

// keyring is what is offered to the host, in order.
type keyring struct {
	signers []ssh.Signer
	sources []string // of signers: a file, or the agent
	skipped []string // default key files that could not be used, with the reason
	agent   net.Conn // nil: none
}

// loadKeyring collects the keys for t: configured files, then the agent's; or
// the agent's, then the default files.
func loadKeyring(ctx context.Context, t Target, opts Options) (*keyring, error) {
	k := &keyring{}
	held := k.openAgent(ctx, opts)
	files, configured := t.Identity, len(t.Identity) > 0
	if !configured {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			files = append(files, filepath.Join(opts.Home, ".ssh", name))
		}
		k.add("the agent", held...)
	}
	for _, file := range files {
		if _, err := os.Stat(file); !configured && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		signer, err := readKey(file, held)
		switch {
		case err == nil:
			k.add(file, signer)
		case configured:
			k.close()
			return nil, err
		default:
			k.skipped = append(k.skipped, err.Error())
		}
	}
	k.add("the agent", held...) // those that are not in yet
	return k, nil
}

// openAgent gives the agent's keys. An agent that cannot be asked is no error:
// ssh does without, too.
func (k *keyring) openAgent(ctx context.Context, opts Options) []ssh.Signer {
	if opts.AgentSocket == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, opts.HandshakeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", opts.AgentSocket)
	if err != nil {
		opts.Log.Warn("ssh: the agent cannot be asked", "error", err)
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	signers, err := agent.NewClient(conn).Signers()
	if !stop() || err != nil {
		conn.Close()
		opts.Log.Warn("ssh: the agent does not list its keys", "error", err)
		return nil
	}
	k.agent = conn
	return signers
}

// add appends those that are not in yet.
func (k *keyring) add(source string, signers ...ssh.Signer) {
	for _, s := range signers {
		if find(k.signers, s.PublicKey()) == nil {
			k.signers = append(k.signers, s)
			k.sources = append(k.sources, source)
		}
	}
}

func (k *keyring) close() {
	if k.agent != nil {
		k.agent.Close()
	}
}

// refused is the error of a host that accepts methods, but none of the keys.
func (k *keyring) refused(t Target, methods []string, cause error) *hostapi.Error {
	var offered []string
	for i, s := range k.signers {
		offered = append(offered, fmt.Sprintf("%s (%s)", describe(s.PublicKey()), k.sources[i]))
	}
	e := failure(hostapi.KindAuth, "let the key in on the host: ssh-copy-id "+t.User+"@"+t.Address,
		"the host refused user %q: offered %s; it accepts %s", t.User, strings.Join(offered, ", "), strings.Join(methods, ", "))
	switch {
	case len(k.signers) == 0:
		e.Message = fmt.Sprintf("the host refused user %q: there was no key to offer", t.User)
		e.Hint = "load a key into the ssh-agent (ssh-add), or name one as ssh.identity in the inventory"
	case len(k.signers) > 5: // sshd looks at six by default (MaxAuthTries)
		e.Hint = "sshd looks at the first few keys only: name the right one as ssh.identity in the inventory"
	}
	if len(k.skipped) > 0 {
		e.Message += "; not offered: " + strings.Join(k.skipped, ", ")
	}
	// The library's "unable to authenticate" says less than is said here already.
	if !strings.Contains(cause.Error(), "unable to authenticate") {
		e.Message += fmt.Sprintf(" (%v)", cause)
	}
	return e
}

// readKey reads a private key file. An encrypted one is fine if held, the
// agent's keys, has it.
func readKey(file string, held []ssh.Signer) (ssh.Signer, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, failure(hostapi.KindAuth, "check ssh.identity in the inventory", "read key: %v", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err == nil {
		return signer, nil
	}
	var encrypted *ssh.PassphraseMissingError
	if !errors.As(err, &encrypted) {
		return nil, failure(hostapi.KindAuth, "check ssh.identity in the inventory", "read key %s: %v", file, err)
	}
	public := encrypted.PublicKey
	if public == nil { // older formats keep it beside
		if line, err := os.ReadFile(file + ".pub"); err == nil {
			public, _, _, _, _ = ssh.ParseAuthorizedKey(line)
		}
	}
	if public != nil {
		if signer := find(held, public); signer != nil {
			return signer, nil
		}
	}
	return nil, failure(hostapi.KindAuth, "load it into the ssh-agent: ssh-add "+file, "key %s is encrypted", file)
}

func find(signers []ssh.Signer, key ssh.PublicKey) ssh.Signer {
	for _, s := range signers {
		if sameKey(s.PublicKey(), key) {
			return s
		}
	}
	return nil
}
