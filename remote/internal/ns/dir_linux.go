package ns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is iproute2's, made by whoever comes first and never removed by it. To
// leave a machine as it was found, what was made of it here is remembered in a
// marker, written before it is made.
const (
	stateDir = "/run/vxorch"
	// marker holds the words of what was made here. No lab's name has a dot.
	marker = stateDir + "/netns.made"
	// draft becomes the marker by renaming, so that a marker is whole or not
	// there, whenever its writer dies.
	draft = stateDir + "/.netns.made"

	madeDir   = "directory"
	madeMount = "mount"
)

// Tidy removes Dir and its mount if Create made them, for whichever process,
// and if they are empty now; else it does nothing. Call it when the last
// namespace was removed.
func Tidy() error {
	if _, err := os.Lstat(stateDir); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was made
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return tidyLocked()
}

// lock keeps other processes of vxorch off Dir and the marker. Unlocking
// removes the state directory if nothing is in it.
func lock() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(stateDir, 0o700); err != nil {
			return nil, err
		}
		dir, err := os.Open(stateDir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed by another's unlock
		}
		if err != nil {
			return nil, err
		}
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			dir.Close()
			return nil, fmt.Errorf("lock %s: %w", stateDir, err)
		}
		held, heldErr := dir.Stat()
		current, err := os.Stat(stateDir)
		if heldErr == nil && err == nil && os.SameFile(held, current) {
			return func() {
				os.Remove(stateDir) // fails, as it should, if anything is in it
				dir.Close()
			}, nil
		}
		dir.Close()
	}
}

// prepareDir makes Dir and sees that mounts in it reach the other mount
// namespaces, as `ip netns add` does: unless removals reach them too, they keep
// removed namespaces alive.
func prepareDir() error {
	if _, err := os.Lstat(Dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(); err != nil {
			return err
		}
	}
	// iproute2's lock: two that bind Dir onto itself at the same time would do
	// it twice (https://bugs.debian.org/949235).
	dir, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", Dir, err)
	}
	err = share()
	if !errors.Is(err, unix.EINVAL) { // EINVAL: Dir is not a mount
		return err
	}
	if err := remember(madeMount, true); err != nil {
		return err
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s onto itself: %w", Dir, err)
	}
	return share()
}

// makeDir makes Dir and remembers it, unless another makes it first.
func makeDir() error {
	if err := remember(madeDir, true); err != nil {
		return err
	}
	err := os.Mkdir(Dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return remember(madeDir, false)
	}
	if err != nil {
		return err
	}
	return os.Chmod(Dir, 0o755) // whatever the umask
}

func share() error {
	if err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share the mounts in %s: %w", Dir, err)
	}
	return nil
}

func tidyLocked() error {
	names, err := os.ReadDir(Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(names) > 0 {
		return err
	}
	if made(madeMount) {
		// Not detached: the kernel refuses if a namespace was bound since.
		err := unix.Unmount(Dir, unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EBUSY):
			return nil // another uses it now
		case err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT): // those: no mount there
			return fmt.Errorf("unmount %s: %w", Dir, err)
		}
		if err := remember(madeMount, false); err != nil {
			return err
		}
	}
	if made(madeDir) {
		err := unix.Rmdir(Dir)
		switch {
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EBUSY):
			return nil // another uses it now
		case err != nil && !errors.Is(err, unix.ENOENT):
			return fmt.Errorf("remove %s: %w", Dir, err)
		}
		return remember(madeDir, false)
	}
	return nil
}

// made says whether the marker holds thing.
func made(thing string) bool {
	text, _ := os.ReadFile(marker)
	for word := range strings.FieldsSeq(string(text)) {
		if word == thing {
			return true
		}
	}
	return false
}

// remember writes into the marker whether thing was made here.
func remember(thing string, is bool) error {
	var words []string
	for _, word := range []string{madeDir, madeMount} {
		if word == thing && is || word != thing && made(word) {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		if err := os.Remove(marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.WriteFile(draft, []byte(strings.Join(words, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(draft, marker)
}
