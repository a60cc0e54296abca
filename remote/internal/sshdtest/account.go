package sshdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Account is a user other than root, who exists for one server alone: each of
// its connections has a mount namespace, in which the machine's passwd, sudoers,
// home directories and /var/tmp are others. The zero value is one with a usual
// shell who may use sudo without a password.
type Account struct {
	Shell   string // empty: /bin/sh
	Sudoers string // lines; empty: everything without a password
	// Setup is run by sh as root before each connection, in its mount namespace,
	// to mount something else.
	Setup string
}

// Name and password of every Account.
const (
	AccountName     = "tester"
	AccountID       = 7001
	AccountPassword = "sesame"
)

// accountShadow is AccountPassword as crypt(3) makes it.
const accountShadow = "$6$vxorch$0Ro03mExf6EexzE3bBHrzKV3eG9ESQWIk8euV3CCH4Rkyg4gw0b2GKJNyfJ6regnJGit5cypziUNdcc.DQmBA/"

// accountKeys is where sshd, as the account, reads which keys it lets in.
const accountKeys = "/home/authorized_keys"

// world is where an account's files are.
type world struct {
	dir   string
	setup string
}

// newWorld makes the files of an account, which needs root.
func newWorld(t testing.TB, dir string, a Account) *world {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal("another user's account needs root")
		}
		t.Skip("another user's account needs root")
	}
	if a.Shell == "" {
		a.Shell = "/bin/sh"
	}
	if a.Sudoers == "" {
		a.Sudoers = AccountName + " ALL=(ALL:ALL) NOPASSWD: ALL"
	}
	passwd, err := os.ReadFile("/etc/passwd")
	must(t, err)
	shadow, err := os.ReadFile("/etc/shadow")
	must(t, err)
	w := &world{dir, a.Setup}
	for file, content := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"passwd":  {fmt.Sprintf("%s%s:x:%d:%d::/home/%s:%s\n", passwd, AccountName, AccountID, AccountID, AccountName, a.Shell), 0o644},
		"shadow":  {fmt.Sprintf("%s%s:%s:19000:0:99999:7:::\n", shadow, AccountName, accountShadow), 0o600},
		"sudoers": {a.Sudoers + "\n", 0o440},
	} {
		must(t, os.WriteFile(w.path(file), []byte(content.text), content.mode))
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"home", 0o755}, {"home/" + AccountName, 0o755}, {"root", 0o700}, {"var-tmp", 0o777 | os.ModeSticky}} {
		must(t, os.Mkdir(w.path(d.name), 0o700))
		must(t, os.Chmod(w.path(d.name), d.mode))
	}
	must(t, os.Chown(w.path("home/"+AccountName), AccountID, AccountID))
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// argv is argv inside the account's mounts.
func (w *world) argv(argv []string) []string {
	script := "set -e\n"
	for from, to := range map[string]string{
		"passwd": "/etc/passwd", "shadow": "/etc/shadow", "sudoers": "/etc/sudoers", "home": "/home", "root": "/root", "var-tmp": "/var/tmp",
	} {
		script += fmt.Sprintf("mount --bind %s %s\n", w.path(from), to)
	}
	script += strings.TrimSpace(w.setup) + "\nexec \"$@\"\n"
	return append([]string{"/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"}, argv...)
}
