package plan

import (
	"net"
	"strconv"
	"strings"

	"vxorch/inventory"
)

const sshPort = 22

// DestroyCommand is the command that takes a lab away from one host, which is
// reached as h says.
func DestroyCommand(lab string, h inventory.Host) string {
	address := h.Address
	if h.SSH.Port != 0 && h.SSH.Port != sshPort {
		address = net.JoinHostPort(address, strconv.Itoa(h.SSH.Port))
	}
	if h.SSH.User != "" {
		address = h.SSH.User + "@" + address
	}
	words := []string{"vxorch", "destroy", "--lab", lab, "--host", h.Name + "=" + address}
	if len(h.SSH.Identity) > 0 {
		words = append(words, "--identity", h.SSH.Identity[0])
	}
	if len(h.SSH.KnownHosts) > 0 {
		words = append(words, "--known-hosts", h.SSH.KnownHosts[0])
	}
	for i, word := range words {
		words[i] = shellWord(word)
	}
	return strings.Join(words, " ")
}

// shellWord writes a word so that a shell reads it as it is; a leading ~/ means
// the home directory to both.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	}
	rest := strings.TrimPrefix(word, "~/")
	if strings.ContainsFunc(rest, func(r rune) bool { return !plain(r) }) {
		return word[:len(word)-len(rest)] + "'" + strings.ReplaceAll(rest, "'", `'\''`) + "'"
	}
	return word
}
