package sshauth

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/youmark/pkcs8"
	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
)

// readKey gives the signer of a key file. If held, the agent's keys, has it
// where the file alone does not do, that one is taken: so the file may be
// encrypted, on a hardware key, a public key only, or missing beside its .pub.
func (k *Keyring) readKey(ctx context.Context, file string, held []ssh.Signer) (ssh.Signer, error) {
	const hint = "check ssh.identity in the inventory and IdentityFile in ssh_config"
	text, err := os.ReadFile(file)
	if err != nil {
		if public := readPublic(file + ".pub"); public != nil && errors.Is(err, fs.ErrNotExist) {
			if signer := find(held, public); signer != nil {
				return signer, nil
			}
		}
		return nil, hostapi.Errorf(hostapi.KindAuth, hint, "read key: %v", err)
	}
	if encryptedPKCS8(text) != nil {
		return k.readEncrypted(ctx, file, text, nil, held)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil && signer.PublicKey().Type() == "ssh-dss", err != nil && isDSA(text):
		return nil, hostapi.Errorf(hostapi.KindAuth, "make a new one: ssh-keygen -t ed25519", "key %s is a DSA key, which SSH servers take no more", file)
	case err == nil:
		return signer, nil
	case errors.As(err, &encrypted):
		return k.readEncrypted(ctx, file, text, encrypted.PublicKey, held)
	}
	public, _, _, _, publicErr := ssh.ParseAuthorizedKey(text)
	if publicErr != nil {
		public = readPublic(file + ".pub")
	}
	if public != nil {
		if signer := find(held, public); signer != nil {
			return signer, nil
		}
	}
	switch {
	case publicErr == nil:
		return nil, hostapi.Errorf(hostapi.KindAuth, "load its private part into the ssh-agent: ssh-add", "key %s is a public key, and the agent does not hold its private part", file)
	case public != nil && strings.HasPrefix(public.Type(), "sk-"), bytes.Contains(text, []byte("OPENSSH PRIVATE KEY")) && strings.Contains(err.Error(), "key type"):
		return nil, hostapi.Errorf(hostapi.KindAuth, "load it into the ssh-agent: ssh-add "+file+"; or let the system's ssh connect: `ssh: {transport: openssh}` in the inventory",
			"key %s is of a kind that only OpenSSH can use (%v)", file, err)
	}
	return nil, hostapi.Errorf(hostapi.KindAuth, hint, "read key %s: %v", file, err)
}

// encryptedPKCS8 gives what is in a key file of that format (RFC 5958), which x/crypto
// does not know; nil: it is of another.
func encryptedPKCS8(text []byte) []byte {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "ENCRYPTED PRIVATE KEY" {
		return nil
	}
	return block.Bytes
}

// decrypt gives the signer of an encrypted key file's text.
func decrypt(text []byte, passphrase string) (ssh.Signer, error) {
	der := encryptedPKCS8(text)
	if der == nil {
		return ssh.ParsePrivateKeyWithPassphrase(text, []byte(passphrase))
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(der, []byte(passphrase))
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

// readEncrypted gives the signer of an encrypted key file. Where its public part
// is known the passphrase is asked when a host takes that key, not before.
func (k *Keyring) readEncrypted(ctx context.Context, file string, text []byte, public ssh.PublicKey, held []ssh.Signer) (ssh.Signer, error) {
	if public == nil { // older formats keep it beside
		public = readPublic(file + ".pub")
	}
	if public == nil {
		return k.secrets.open(ctx, file, text)
	}
	if signer := find(held, public); signer != nil {
		return signer, nil
	}
	if k.secrets.Ask == nil && len(k.secrets.Passphrases) == 0 {
		return k.secrets.open(ctx, file, text) // which says so
	}
	return &locked{public: public, open: func() (ssh.Signer, error) { return k.secrets.open(ctx, file, text) }}, nil
}

// locked is an encrypted key that is opened when it has to sign.
type locked struct {
	public ssh.PublicKey
	open   func() (ssh.Signer, error)
}

func (l *locked) PublicKey() ssh.PublicKey { return l.public }

func (l *locked) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return l.SignWithAlgorithm(rand, data, l.public.Type())
}

func (l *locked) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := l.open()
	if err != nil {
		return nil, err
	}
	able, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return signer.Sign(rand, data)
	}
	return able.SignWithAlgorithm(rand, data, algorithm)
}

// isDSA tells a key file in OpenSSH's format, which has its public part in
// clear, even of a kind that cannot be read.
func isDSA(text []byte) bool {
	block, _ := pem.Decode(text)
	return block != nil && bytes.Contains(block.Bytes, []byte("\x00\x00\x00\x07ssh-dss"))
}

// readPublic gives the public key in file; nil if there is none.
func readPublic(file string) ssh.PublicKey {
	line, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil
	}
	return public
}

// readCertificate gives the certificate in file.
func readCertificate(file string) (*ssh.Certificate, error) {
	line, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, err
	}
	certificate, ok := public.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("it is no certificate")
	}
	return certificate, nil
}
