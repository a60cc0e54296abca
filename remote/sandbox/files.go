package sandbox

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// newKey gives a fresh key pair: the private one in OpenSSH's file format, the
// public one as "ssh-ed25519 …".
func newKey(comment string) (private []byte, public string, err error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, "", err
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return nil, "", err
	}
	authorized := ssh.MarshalAuthorizedKey(signer.PublicKey())
	return pem.EncodeToMemory(block), strings.TrimSpace(string(authorized)), nil
}

// knownHosts gives a known_hosts file; every host is known by address and name.
func (r record) knownHosts() []byte {
	var b bytes.Buffer
	for _, h := range r.Hosts {
		fmt.Fprintf(&b, "%s,%s %s\n", h.Address, h.Name, h.HostKey)
	}
	return b.Bytes()
}

// etcHosts gives the hosts' /etc/hosts.
func (r record) etcHosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	for _, h := range r.Hosts {
		fmt.Fprintf(&b, "%s %s\n", h.Address, h.Name)
	}
	return b.String()
}

// inventory gives the shortest inventory that names every host; the rest is the
// lab's defaults. Quoted strings of Go are YAML's too.
func (s *Sandbox) inventory() []byte {
	sandbox := "vxorch sandbox"
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Hosts on this machine, made by `%s up`. They are reached from inside:\n", sandbox)
	fmt.Fprintf(&b, "#   %s exec -- vxorch deploy %s\n", sandbox, s.Inventory())
	fmt.Fprintf(&b, "lab: try\n")
	fmt.Fprintf(&b, "ssh: {user: root, identity: %q, known_hosts: %q}\n", s.Identity(), s.KnownHosts())
	fmt.Fprintf(&b, "hosts:\n")
	for _, h := range s.record.Hosts {
		fmt.Fprintf(&b, "  %s: {address: %q}\n", h.Name, h.Address)
	}
	return b.Bytes()
}

// sshdConfig gives a host's sshd_config. sshd takes the first value of a key.
func sshdConfig(extra string) string {
	return strings.TrimSpace(extra+"\n"+`
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 200
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
`) + "\n"
}
