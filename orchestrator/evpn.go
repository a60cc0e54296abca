package orchestrator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vxorch/remote/hostapi"
)

// maxPassword is what the kernel takes (TCP_MD5SIG_MAXKEYLEN in its tcp.h), in bytes.
const maxPassword = 80

// password reads that of EVPN's sessions; empty: the lab has none.
func (s *session) password() (string, error) {
	if s.lab.EVPN == nil || s.lab.EVPN.PasswordFile == "" {
		return "", nil
	}
	file := s.lab.EVPN.PasswordFile
	path := file
	if rest, found := strings.CutPrefix(file, "~/"); found {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("evpn.password_file %s: %w", file, err)
		}
		path = filepath.Join(home, rest)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", hostapi.Errorf(hostapi.KindInvalid, "write the sessions' password into it, in one line", "evpn.password_file: %v", err)
	}
	word := strings.TrimRight(string(text), "\r\n")
	if word == "" || len(word) > maxPassword || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", hostapi.Errorf(hostapi.KindInvalid, fmt.Sprintf("one line of 1 to %d printable ASCII characters, without spaces", maxPassword),
			"evpn.password_file %s holds no password that BGP takes", file)
	}
	return word, nil
}
