package sshconn

import (
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

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"vxorch/remote/hostapi"
)

// errUnknownHost says that known_hosts has nothing about the host.
var errUnknownHost = errors.New("host is unknown")

// knownHosts is what some known_hosts files say.
type knownHosts struct {
	readable *knownhosts.HostKeyDB
	broken   *knownhosts.HostKeyDB // has a key that nobody holds for the hosts of unreadable lines
	files    map[string]string     // copy that was read → file it was made from
}

// readKnownHosts reads files; one that does not exist is empty. The library
// refuses a whole file for one line that it cannot read, which ssh just skips:
// of such a file, copies are read that have the good and the bad lines apart.
func readKnownHosts(files []string, log *slog.Logger) (*knownHosts, error) {
	k := &knownHosts{files: map[string]string{}}
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
				return nil, failure(hostapi.KindHostKey, "", "read %s: %v", file, err)
			}
		}
		good, bad := filepath.Join(dir, fmt.Sprint(i, "-good")), filepath.Join(dir, fmt.Sprint(i, "-bad"))
		if err := sortLines(file, good, bad, log); err != nil {
			return nil, failure(hostapi.KindHostKey, "", "read known hosts: %v", err)
		}
		k.files[good], k.files[bad] = file, file
		readable, broken = append(readable, good), append(broken, bad)
	}
	var err error
	if k.readable, err = knownhosts.NewDB(readable...); err == nil {
		k.broken, err = knownhosts.NewDB(broken...)
	}
	if err != nil {
		return nil, failure(hostapi.KindHostKey, "", "read known hosts: %v", err)
	}
	return k, nil
}

// sortLines copies file to good without the lines that cannot be read, and to
// bad the hosts of just those, with a key that nobody holds. Line numbers stay.
func sortLines(file, good, bad string, log *slog.Logger) error {
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
		log.Warn("ssh: a line of known_hosts cannot be read and is skipped", "file", file, "line", i+1, "error", reason)
		lines[i] = ""
		if substitute := nobodysKey(line); readable(substitute) == nil {
			hosts[i] = substitute
		}
	}
	return errors.Join(
		os.WriteFile(good, []byte(strings.Join(lines, "\n")), 0o600),
		os.WriteFile(bad, []byte(strings.Join(hosts, "\n")), 0o600))
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

// algorithms lists the host-key algorithms of the keys that name (host:port)
// has, without those that sign with SHA-1.
func (k *knownHosts) algorithms(name string) []string {
	safe := ssh.SupportedAlgorithms().HostKeys
	return slices.DeleteFunc(k.readable.HostKeyAlgorithms(name), func(a string) bool {
		return !slices.Contains(safe, a)
	})
}

// check gives nil if key is known for name (host:port), errUnknownHost if
// nothing is known for name, else what speaks against it.
func (k *knownHosts) check(name string, key ssh.PublicKey) error {
	// The name decides. The address is never looked up, but has to look like one.
	nowhere := &net.TCPAddr{IP: net.IPv4zero}
	err := k.readable.HostKeyCallback()(name, nowhere, key)
	var mismatch *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return failure(hostapi.KindHostKey, "", "the host's key %s is revoked by %s", describe(key), k.place(revoked.Revoked))
	case !errors.As(err, &mismatch):
		return failure(hostapi.KindHostKey, "", "the host's key %s: %v", describe(key), err)
	}
	if len(mismatch.Want) > 0 {
		return k.changed(name, key, mismatch.Want)
	}
	if errors.As(k.broken.HostKeyCallback()(name, nowhere, key), &mismatch) && len(mismatch.Want) > 0 {
		return failure(hostapi.KindHostKey, "mend or remove that line",
			"the host presents %s, but what is known of its key cannot be read: %s", describe(key), k.place(mismatch.Want[0]))
	}
	return errUnknownHost
}

// changed describes a key that differs from the known ones.
func (k *knownHosts) changed(name string, key ssh.PublicKey, want []xknownhosts.KnownKey) error {
	var authorities, known []string
	for _, w := range want {
		text := fmt.Sprintf("%s (%s)", describe(w.Key), k.place(w))
		isAuthority := func(p knownhosts.PublicKey) bool { return p.Cert && sameKey(p.PublicKey, w.Key) }
		if slices.ContainsFunc(k.readable.HostKeys(name), isAuthority) {
			authorities = append(authorities, text)
		} else {
			known = append(known, text)
		}
	}
	if len(known) == 0 {
		return failure(hostapi.KindHostKey, "", "the host presents %s without a certificate of the authority %s", describe(key), strings.Join(authorities, ", "))
	}
	return failure(hostapi.KindHostKey,
		fmt.Sprintf("if the host was installed anew: ssh-keygen -R %q -f %s; if not, somebody else answers in its place", knownhosts.Normalize(name), k.file(want[0])),
		"the host's key has changed: known %s, presented %s", strings.Join(known, ", "), describe(key))
}

// file is the file that w is from.
func (k *knownHosts) file(w xknownhosts.KnownKey) string {
	if original, ok := k.files[w.Filename]; ok {
		return original
	}
	return w.Filename
}

func (k *knownHosts) place(w xknownhosts.KnownKey) string {
	return fmt.Sprintf("%s:%d", k.file(w), w.Line)
}
