package ns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Do runs f inside the named namespace, on an OS thread of its own, and gives
// f's error. Goroutines that f starts run outside. The empty name is the
// process's own namespace: f is just called. The error wraps fs.ErrNotExist if
// there is no such namespace. Safe for concurrent use.
func Do(name string, f func() error) error {
	if name == "" {
		return f()
	}
	file, err := Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return onThread(func() error {
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", name, err)
		}
		return f()
	})
}

// Open gives the named namespace as a file, as setns(2) and netlink take it.
// The error wraps fs.ErrNotExist if there is none.
func Open(name string) (*os.File, error) {
	path, err := pathOf(name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil {
		file.Close()
		return nil, fmt.Errorf("open namespace %s: statfs: %w", name, err)
	}
	if stat.Type != unix.NSFS_MAGIC {
		file.Close()
		return nil, fmt.Errorf("open namespace %s: nothing is bound to %s", name, path)
	}
	return file, nil
}

// List gives what is in Dir, in the order of names. No Dir is no namespaces.
func List() ([]Entry, error) {
	files, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var entries []Entry
	for _, file := range files {
		var stat unix.Statfs_t
		err := unix.Statfs(filepath.Join(Dir, file.Name()), &stat)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was read
		}
		entries = append(entries, Entry{Name: file.Name(), Valid: err == nil && stat.Type == unix.NSFS_MAGIC})
	}
	return entries, nil
}

// onThread runs f on an OS thread that may change its network namespace, and
// takes the thread back to where it was.
func onThread(f func() error) error {
	// Stands if f ends its goroutine, as a failing test does.
	err := errors.New("did not return")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, openErr := os.Open("/proc/thread-self/ns/net")
		if openErr != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("remember the namespace: %w", openErr)
			return
		}
		defer home.Close()
		defer func() {
			// A thread that cannot go back stays locked: the runtime ends
			// it with this goroutine, so nothing else ever runs there.
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = f()
	}()
	<-done
	return err
}

// pathOf gives the file of the named namespace.
func pathOf(name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("%q cannot name a namespace", name)
	}
	return filepath.Join(Dir, name), nil
}
