package sshconn

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
	"vxorch/remote/hostkeys"
)

// verifier decides about the key that one host presents.
type verifier struct {
	target Target
	opts   Options
	known  *hostkeys.Known // nil: the fingerprint is pinned

	rejected   error           // of the last attempt
	mismatched []ssh.PublicKey // presented where another is pinned
	untried    []string        // algorithms that may show the pinned key yet
}

func newVerifier(t Target, opts Options) (*verifier, error) {
	v := &verifier{target: t, opts: opts, untried: plainAlgorithms()}
	if t.HostKey != "" {
		if !strings.HasPrefix(t.HostKey, "SHA256:") {
			return nil, hostapi.Errorf(hostapi.KindInvalid, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the host prints it",
				"host_key %q is no SHA256:… fingerprint", t.HostKey)
		}
		return v, nil
	}
	var err error
	v.known, err = opts.HostKeys.Read(t.KnownHosts)
	return v, err
}

// algorithms lists host-key algorithms, those of known keys first: a server
// shows one of its keys only, and one that is not known would look like a
// change. The others follow, so that a change is seen as one.
func (v *verifier) algorithms() []string {
	if v.known == nil {
		return v.untried
	}
	algorithms := v.known.Algorithms(v.name())
	if len(algorithms) == 0 && v.target.KeyName == "" {
		algorithms = v.known.Algorithms(v.plainName())
	}
	for _, a := range plainAlgorithms() {
		if !slices.Contains(algorithms, a) {
			algorithms = append(algorithms, a)
		}
	}
	return algorithms
}

// plainAlgorithms lists what is safe and no certificate: certificates are for
// hosts that known_hosts has an authority for.
func plainAlgorithms() []string {
	return slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, func(a string) bool {
		return strings.Contains(a, "-cert-")
	})
}

// name is the host as known_hosts has it before normalizing: OpenSSH looks host
// names up in lower case. An alias goes without the port.
func (v *verifier) name() string {
	if v.target.KeyName != "" {
		return strings.ToLower(net.JoinHostPort(v.target.KeyName, "22"))
	}
	return strings.ToLower(hostport(v.target))
}

// plainName is the host without its port, under which OpenSSH looks a host up
// that it does not know with the port.
func (v *verifier) plainName() string {
	return strings.ToLower(net.JoinHostPort(v.target.Address, "22"))
}

// check is the ssh.HostKeyCallback.
func (v *verifier) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	v.rejected = v.judge(key)
	return v.rejected
}

func (v *verifier) judge(key ssh.PublicKey) error {
	if v.known == nil {
		if ssh.FingerprintSHA256(key) == strings.TrimRight(v.target.HostKey, "=") {
			return nil
		}
		v.mismatched = append(v.mismatched, key)
		return v.pinMismatch()
	}
	err := v.known.Check(v.name(), key)
	if !errors.Is(err, hostkeys.ErrUnknown) {
		return err
	}
	if v.target.KeyName == "" && v.known.Check(v.plainName(), key) == nil {
		return nil
	}
	if v.target.AcceptNew {
		return v.opts.HostKeys.Learn(v.target.KnownHosts, v.name(), key)
	}
	return hostapi.Errorf(hostapi.KindHostKey, fmt.Sprintf(
		"compare that fingerprint with the host's own; then ssh-keyscan -p %d %s >> %s, or set ssh.accept_new: true or ssh.host_key: %s for %s in the inventory",
		v.target.Port, v.target.Address, v.target.KnownHosts[0], ssh.FingerprintSHA256(key), label(v.target)),
		"the host's key is unknown: it presents %s", hostkeys.Describe(key))
}

// next tells whether it is worth to ask the server for another of its keys: the
// pinned one may be of a type that it does not present first. Then the next
// attempt asks for the types that have not been seen.
func (v *verifier) next() bool {
	if v.known != nil || v.rejected == nil {
		return false
	}
	v.rejected = nil
	seen := v.mismatched[len(v.mismatched)-1]
	v.untried = slices.DeleteFunc(v.untried, func(a string) bool { return keyType(a) == seen.Type() })
	return len(v.untried) > 0
}

func (v *verifier) pinMismatch() error {
	var presented []string
	for _, key := range v.mismatched {
		presented = append(presented, hostkeys.Describe(key))
	}
	return hostapi.Errorf(hostapi.KindHostKey, "if the host was installed anew, correct ssh.host_key in the inventory; if not, somebody else answers in its place",
		"the host's key is not the pinned one: pinned %s, presented %s", v.target.HostKey, strings.Join(presented, ", "))
}

// keyType is the type of the keys that a host-key algorithm signs with.
func keyType(algorithm string) string {
	switch algorithm {
	case ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512:
		return ssh.KeyAlgoRSA
	}
	return algorithm
}

func label(t Target) string {
	if t.Name != "" {
		return t.Name
	}
	return t.Address
}
