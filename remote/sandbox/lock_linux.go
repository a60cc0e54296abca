package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errHeld: another process has the sandbox locked.
var errHeld = errors.New("another process is busy with it")

// tryLock locks the sandbox in dir, by its directory itself so that no lock file
// stays behind. The error is errHeld if another has it, or wraps fs.ErrNotExist
// if there is no such directory.
func tryLock(dir string) (unlock func(), err error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		err = errHeld
	}
	if err == nil {
		// It may have been removed, and made anew, before it was locked.
		var held, current os.FileInfo
		if held, err = file.Stat(); err == nil {
			if current, err = os.Stat(dir); err == nil && !os.SameFile(held, current) {
				err = errHeld
			}
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { file.Close() }, nil
}

// lock waits for the lock of the sandbox in dir; create makes the directory
// where there is none.
func lock(ctx context.Context, dir string, create bool) (unlock func(), err error) {
	for {
		if create {
			if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
				return nil, err
			}
			if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		unlock, err := tryLock(dir)
		if err == nil || !errors.Is(err, errHeld) && !(create && errors.Is(err, fs.ErrNotExist)) {
			return unlock, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
