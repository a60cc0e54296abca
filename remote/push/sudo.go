package push

import (
	"strings"

	"vxorch/remote/hostapi"
)

const hintSudo = "set ssh.sudo: ask in the inventory, or name a file with the password in VXORCH_SUDO_PASSWORD_FILE, or let sudoers allow the user without one (NOPASSWD)"

// sudoRefusals are what sudo says, in the C locale, where it does not run a
// command. It has one exit status for all, so its words are all there is to go
// by; they decide about the hint only.
var sudoRefusals = []struct{ words, message, hint string }{
	{"password is required", "sudo wants a password", hintSudo},
	{"must have a tty", "sudo wants a terminal", "vxorch uses none; let sudoers say: Defaults:USER !requiretty"},
	{"is not in the sudoers file", "the user may not use sudo", "let sudoers allow the user /bin/sh, or log in as another (ssh.user)"},
	{"may not run sudo", "the user may not use sudo", "let sudoers allow the user /bin/sh, or log in as another (ssh.user)"},
	{"is not allowed to", "the user may not run a shell by sudo", "let sudoers allow the user /bin/sh, or log in as another (ssh.user)"},
	{"incorrect password", "sudo refused the password", "it is the password of the SSH user on that host which sudo wants, unless its settings say otherwise (rootpw, targetpw)"},
	{"no new privileges", "sudo cannot gain privileges there", "does the SSH session run in a container, or under NoNewPrivileges?"},
	{"effective uid is not 0", "sudo cannot gain privileges there", "is sudo mounted nosuid, or the SSH session in a container?"},
}

// sudoRefusal is the error of a sudo that did not start anything, nil if nothing
// points to that.
func sudoRefusal(stderr, what string) *hostapi.Error {
	for _, r := range sudoRefusals {
		if strings.Contains(stderr, r.words) {
			return hostapi.Errorf(hostapi.KindPermission, r.hint, "start the helper as root: %s: %s", r.message, what)
		}
	}
	if strings.Contains(stderr, "sudo: ") {
		return hostapi.Errorf(hostapi.KindPermission, "try on the host, as that user: sudo -n sh -c id", "start the helper as root: %s", what)
	}
	return nil
}
