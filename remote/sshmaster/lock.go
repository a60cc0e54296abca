package sshmaster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock waits until no other run starts the same master. The file goes with the
// lock.
func (m *master) lock(ctx context.Context) (unlock func(), err error) {
	path := m.socket + ".lock"
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := await(ctx, file); err != nil {
			file.Close()
			return nil, err
		}
		if isAt(file, path) {
			return func() {
				_ = os.Remove(path) // while it is locked; if it stays, no harm is done
				file.Close()
			}, nil
		}
		file.Close() // who had the lock has removed it
	}
}

// await waits for the lock on file.
func await(ctx context.Context, file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isAt tells whether file is still the one at path.
func isAt(file *os.File, path string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}
