package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"vxorch/remote/hostapi"
)

// Down takes the sandbox away: its processes, mounts, network and files. It
// works on an unfinished sandbox too and after a reboot of the machine. Down of a
// sandbox that is gone does nothing.
func (s *Sandbox) Down(ctx context.Context) error {
	unlock, err := lock(ctx, s.dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	if err := remove(ctx, s.dir, true); err != nil {
		return fmt.Errorf("take sandbox %s away: %w", s.record.Name, err)
	}
	return nil
}

// Sweep removes the sandboxes in state whose owner has ended. Those that another
// process is busy with it leaves alone.
func Sweep(ctx context.Context, state string) error {
	o, err := Options{State: state}.complete()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(o.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if !entry.IsDir() || !nameForm.MatchString(entry.Name()) {
			continue
		}
		if err := sweepOne(ctx, filepath.Join(o.State, entry.Name())); err != nil {
			errs = append(errs, fmt.Errorf("sweep sandbox %s: %w", entry.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func sweepOne(ctx context.Context, dir string) error {
	unlock, err := tryLock(dir)
	if errors.Is(err, errHeld) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	if ours, err := isSandbox(dir); err != nil || !ours {
		return err
	}
	s, err := load(dir)
	if err != nil || !s.orphaned() {
		return nil // an unreadable record does not say whose it is; Down asks not
	}
	return remove(ctx, dir, true)
}

// remove takes away what the sandbox in dir has, whatever state it is in, and
// with itself also dir and the directory of all sandboxes, if that is empty
// then. A directory that is no sandbox's it refuses. The lock must be held.
func remove(ctx context.Context, dir string, itself bool) error {
	if ours, err := isSandbox(dir); err != nil {
		return err
	} else if !ours {
		return &hostapi.Error{Kind: hostapi.KindForeign, Message: dir + " is not empty and no sandbox's", Hint: "give the sandbox another name or directory"}
	}
	s, err := load(dir)
	if err != nil {
		// The record cannot be read; what else is there is found without it.
		s = &Sandbox{dir: dir}
	}
	if s.record.BootID == "" {
		s.record.BootID, _ = bootID()
	}
	hosts, err := os.ReadDir(filepath.Join(dir, hostsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var halting errgroup.Group
	for _, host := range hosts {
		halting.Go(func() error { return s.halt(ctx, host.Name()) })
	}
	if err := halting.Wait(); err != nil {
		return err
	}
	// Whatever is mounted must not be emptied.
	if err := unmountUnder(dir); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Name() == recordFile {
			continue // until nothing else is there: by it the sandbox is known
		}
		if err := os.RemoveAll(filepath.Join(dir, file.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !itself {
		return nil
	}
	if err := os.Remove(dir); err != nil {
		return err
	}
	os.Remove(filepath.Dir(dir)) // fails, as it should, if anything is in it
	return nil
}

// isSandbox says whether dir is a sandbox's, be it one that was hardly begun or
// is almost gone, and not something of the user's.
func isSandbox(dir string) (bool, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	others := 0
	for _, file := range files {
		switch file.Name() {
		case recordFile:
			return true, nil
		case temporaryName(recordFile):
		default:
			others++
		}
	}
	return others == 0, nil
}
