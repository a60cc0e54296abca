// Package hostkeys says what known_hosts has to say of a host's key, and writes
// the keys of new hosts there. Whether a new host is welcome is for others to
// decide.
package hostkeys

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"vxorch/remote/hostapi"
)

// ErrUnknown says that known_hosts has nothing about the host.
var ErrUnknown = errors.New("host is unknown")

// Known is what some known_hosts files say.
type Known struct {
	readable *knownhosts.HostKeyDB
	broken   *knownhosts.HostKeyDB // has a key that nobody holds for the hosts of unreadable lines
	files    map[string]string     // copy that was read → file it was made from
}

// Reader reads known_hosts for the hosts of one run. The zero value works. Safe
// for concurrent use.
type Reader struct {
	Log *slog.Logger // nil: nowhere

	mu     sync.Mutex
	warned map[string]bool // of lines, by place: once is enough for all hosts
}

// Read reads files; one that does not exist is empty. The library refuses a
// whole file for one line that it cannot read, which ssh just skips: of such a
// file, copies are read that have the good and the bad lines apart.
func (r *Reader) Read(files []string) (*Known, error) {
	k := &Known{files: map[string]string{}}
	dir := ""
	defer func() {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}()
	var readable, broken []string
	for i, file := range files {
		_, err := xknownhosts.New(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			readable = append(readable, file)
			continue
		}
		if dir == "" {
			if dir, err = os.MkdirTemp("", "vxorch-known-hosts-"); err != nil {
				return nil, hostapi.Errorf(hostapi.KindHostKey, "", "read %s: %v", file, err)
			}
		}
		good, bad := filepath.Join(dir, fmt.Sprint(i, "-good")), filepath.Join(dir, fmt.Sprint(i, "-bad"))
		if err := r.sortLines(file, good, bad); err != nil {
			return nil, hostapi.Errorf(hostapi.KindHostKey, "", "read known hosts: %v", err)
		}
		k.files[good], k.files[bad] = file, file
		readable, broken = append(readable, good), append(broken, bad)
	}
	var err error
	if k.readable, err = knownhosts.NewDB(readable...); err == nil {
		k.broken, err = knownhosts.NewDB(broken...)
	}
	if err != nil {
		return nil, hostapi.Errorf(hostapi.KindHostKey, "", "read known hosts: %v", err)
	}
	return k, nil
}

// sortLines copies file to good without the lines that cannot be read, and to
// bad the hosts of just those, with a key that nobody holds. Line numbers stay.
func (r *Reader) sortLines(file, good, bad string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	trial := good + "-line"
	readable := func(line string) error {
		if err := os.WriteFile(trial, []byte(line), 0o600); err != nil {
			return err
		}
		_, err := xknownhosts.New(trial)
		return err
	}
	lines := strings.Split(string(text), "\n")
	hosts := make([]string, len(lines))
	for i, line := range lines {
		err := readable(line)
		if err == nil {
			continue
		}
		_, reason, _ := strings.Cut(err.Error(), trial+":1: ")
		r.warn(file, i+1, reason)
		lines[i] = ""
		if substitute := nobodysKey(line); readable(substitute) == nil {
			hosts[i] = substitute
		}
	}
	return errors.Join(
		os.WriteFile(good, []byte(strings.Join(lines, "\n")), 0o600),
		os.WriteFile(bad, []byte(strings.Join(hosts, "\n")), 0o600))
}

func (r *Reader) warn(file string, line int, reason string) {
	place := fmt.Sprintf("%s:%d", file, line)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Log == nil || r.warned[place] {
		return
	}
	if r.warned == nil {
		r.warned = map[string]bool{}
	}
	r.warned[place] = true
	r.Log.Warn("ssh: a line of known_hosts cannot be read and is skipped", "file", file, "line", line, "error", reason)
}

// nobodysKey gives a known_hosts line for the hosts of line; nothing if line
// does not say whose key it has.
func nobodysKey(line string) string {
	fields := strings.Fields(line)
	if len(fields) > 0 && fields[0] == "@cert-authority" {
		fields = fields[1:]
	}
	if len(fields) == 0 || fields[0] == "@revoked" {
		return ""
	}
	key, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return ""
	}
	return fields[0] + " " + string(ssh.MarshalAuthorizedKey(key))
}

// Algorithms lists the host-key algorithms of the keys that name (host:port)
// has, without those that sign with SHA-1.
func (k *Known) Algorithms(name string) []string {
	safe := ssh.SupportedAlgorithms().HostKeys
	return slices.DeleteFunc(k.readable.HostKeyAlgorithms(name), func(a string) bool {
		return !slices.Contains(safe, a)
	})
}

// Check gives nil if key is known for name (host:port), ErrUnknown if
// nothing is known for name, else what speaks against it.
func (k *Known) Check(name string, key ssh.PublicKey) error {
	// The name decides. The address is never looked up, but has to look like one.
	nowhere := &net.TCPAddr{IP: net.IPv4zero}
	err := k.readable.HostKeyCallback()(name, nowhere, key)
	var mismatch *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return hostapi.Errorf(hostapi.KindHostKey, "others may hold a key that is revoked: give the host a new one", "the host's key %s is revoked by %s", Describe(key), k.place(revoked.Revoked))
	case !errors.As(err, &mismatch):
		return hostapi.Errorf(hostapi.KindHostKey, "a host's certificate has to be for its name, in time, and not revoked by known_hosts", "the host's key %s: %v", Describe(key), err)
	}
	if len(mismatch.Want) > 0 {
		return k.changed(name, key, mismatch.Want)
	}
	if errors.As(k.broken.HostKeyCallback()(name, nowhere, key), &mismatch) && len(mismatch.Want) > 0 {
		return hostapi.Errorf(hostapi.KindHostKey, "mend or remove that line",
			"the host presents %s, but what is known of its key cannot be read: %s", Describe(key), k.place(mismatch.Want[0]))
	}
	return ErrUnknown
}

// changed describes a key that differs from the known ones.
func (k *Known) changed(name string, key ssh.PublicKey, want []xknownhosts.KnownKey) error {
	var authorities, known []string
	for _, w := range want {
		text := fmt.Sprintf("%s (%s)", Describe(w.Key), k.place(w))
		isAuthority := func(p knownhosts.PublicKey) bool { return p.Cert && same(p.PublicKey, w.Key) }
		if slices.ContainsFunc(k.readable.HostKeys(name), isAuthority) {
			authorities = append(authorities, text)
		} else {
			known = append(known, text)
		}
	}
	if len(known) == 0 {
		return hostapi.Errorf(hostapi.KindHostKey, "name the certificate as HostCertificate in the host's sshd_config, or put the key itself into known_hosts", "the host presents %s without a certificate of the authority %s", Describe(key), strings.Join(authorities, ", "))
	}
	return hostapi.Errorf(hostapi.KindHostKey,
		fmt.Sprintf("if the host was installed anew: ssh-keygen -R %q -f %s; if not, somebody else answers in its place", knownhosts.Normalize(name), k.file(want[0])),
		"the host's key has changed: known %s, presented %s", strings.Join(known, ", "), Describe(key))
}

// file is the file that w is from.
func (k *Known) file(w xknownhosts.KnownKey) string {
	if original, ok := k.files[w.Filename]; ok {
		return original
	}
	return w.Filename
}

func (k *Known) place(w xknownhosts.KnownKey) string {
	return fmt.Sprintf("%s:%d", k.file(w), w.Line)
}

// Describe names a key for people: type and fingerprint.
func Describe(key ssh.PublicKey) string {
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// same tells whether two keys are one.
func same(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
