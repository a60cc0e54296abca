// Package own knows whose an object on this host is: the mark that an object
// bears, the intent that announces an object before it can bear one, and the
// lock that only one run of a lab at a time can hold. It makes, reads and
// removes no network object itself.
//
// A link is marked by its alias, a namespace by the alias of the loopback
// device in it, set before the namespace gets its name: a marker file beside it
// could be left behind or be taken along with neither, the alias dies with its
// object.
package own

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vxorch/remote/hostapi"
)

// Root is where the labs' locks and intents are. Like the objects that they
// speak of, they do not outlive a reboot.
const Root = "/run/vxorch"

// Store is the directory of locks and intents. The zero value is Root.
type Store struct {
	Root string // empty: the constant Root
	// Lease is how long this process lives on without a sign of its controller,
	// for those who find it hold a lock. 0: for ever.
	Lease time.Duration
}

func (s Store) root() string {
	if s.Root != "" {
		return s.Root
	}
	return Root
}

// labDir gives the lab's directory. The lab's name comes from another machine
// and becomes part of a path here.
func (s Store) labDir(lab string) (string, error) {
	if lab == "" || len(lab) > maxLab || strings.Trim(lab, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", &hostapi.Error{
			Kind:    hostapi.KindInvalid,
			Message: fmt.Sprintf("%q is not a lab's name: want a-z, 0-9 and -, at most %d characters", lab, maxLab),
		}
	}
	return filepath.Join(s.root(), lab), nil
}

// dirs are the lab's directories, outermost first.
func (s Store) dirs(lab string) []string {
	return []string{s.root(), filepath.Join(s.root(), lab), filepath.Join(s.root(), lab, "intents")}
}

// mkdirs makes the lab's directories, each looked at before the next is made in
// it.
func (s Store) mkdirs(lab string) error {
	for _, dir := range s.dirs(lab) {
		if err := mkdir(dir); err != nil {
			return err
		}
	}
	return nil
}

// mkdirsForLock makes of the lab's directories what its lock needs. The last one is
// its holder's to make: whoever is refused the lock would leave it behind if it was
// made while the holder took the others away.
func (s Store) mkdirsForLock(lab string) error {
	dirs := s.dirs(lab)
	last := len(dirs) - 1
	for _, dir := range dirs[:last] {
		if err := mkdir(dir); err != nil {
			return err
		}
	}
	if err := trust(dirs[last]); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return trust(dir)
}

// Path is where what the lab calls name is, or would be, in its directory.
func (s Store) Path(lab, name string) (string, error) {
	dir, err := s.labDir(lab)
	return filepath.Join(dir, name), err
}

// trust refuses a directory that somebody else could have prepared. One that holds
// what is another user's may be passed through; nobody else can look into it.
func trust(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode(); (mode == fs.ModeDir|0o700 || mode == fs.ModeDir|0o711) && ownedByUs(info) {
		return nil
	}
	e := &hostapi.Error{
		Kind:    hostapi.KindPermission,
		Message: fmt.Sprintf("%s is %v: it has to be a directory of ours with mode 0700 or 0711", dir, info.Mode()),
		Hint:    "look who made " + dir + ", then remove it",
	}
	if os.Geteuid() != 0 {
		e.Hint = beRoot
	}
	return e
}

const beRoot = "log in as root, or as a user who may use sudo"

// classify gives err, where the system denied something, its kind.
func classify(err error) error {
	if e := new(hostapi.Error); !errors.Is(err, fs.ErrPermission) || errors.As(err, &e) {
		return err
	}
	return &hostapi.Error{Kind: hostapi.KindPermission, Message: err.Error(), Hint: beRoot}
}

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
