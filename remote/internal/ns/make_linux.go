package ns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Create makes a network namespace, runs prepare inside it and only then gives
// it its name: nobody sees it unprepared, and dying before leaves nothing. The
// error wraps fs.ErrExist if the name is taken. A failed Create leaves nothing
// behind. Goroutines that prepare starts run outside.
func Create(name string, prepare func() error) error {
	path, err := pathOf(name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("make namespace %s: %w", name, fs.ErrExist)
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make namespace %s: %w", name, err)
		}
		if err := prepare(); err != nil {
			return err
		}
		if err := bind(path); err != nil {
			return fmt.Errorf("name namespace %s: %w", name, err)
		}
		return nil
	})
}

// Unnamed runs f inside a new network namespace that has no name and is gone when
// f is done. Goroutines that f starts run outside.
func Unnamed(f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a namespace: %w", err)
		}
		return f()
	})
}

// Remove takes the name from a namespace; the kernel ends it when no process
// is left inside. The error wraps fs.ErrNotExist if there is none. A file of
// that name with nothing bound to it is removed too.
func Remove(name string) error {
	path, err := pathOf(name)
	if err != nil {
		return err
	}
	// As often as something is bound there: a file with a mount on it cannot be
	// unlinked. Detached, since a process inside must not stand in the way.
	for err == nil {
		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if !errors.Is(err, unix.EINVAL) { // EINVAL: nothing (more) is bound
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	if err := unix.Unlink(path); err != nil {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// bind binds the calling thread's network namespace to path, a file it makes.
func bind(path string) error {
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	err = bindLocked(path)
	if err != nil {
		return errors.Join(err, tidyLocked())
	}
	return nil
}

func bindLocked(path string) error {
	if err := prepareDir(); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	file.Close()
	if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("bind to %s: %w", path, err), os.Remove(path))
	}
	return nil
}
