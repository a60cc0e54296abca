package virt

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// holds keeps base images that this session has seen, or brought, from Clean of
// another until the session ends: a disk is about to be made on them. Each is held
// by a shared flock on its file; who removes one needs the lock for itself alone.
type holds struct {
	mu    sync.Mutex
	files map[string]*os.File // by path
}

// Hold keeps those of images that are in the store from being cleaned away.
func (h *Host) Hold(images []hostapi.Image) error {
	for _, i := range images {
		if i.SHA256 == "" || checkName(i.SHA256) != nil {
			continue
		}
		if err := h.holds.take(h.store.base(i.SHA256)); err != nil {
			return err
		}
	}
	return nil
}

// LetGo ends all that Hold and PutImage hold.
func (h *Host) LetGo() {
	h.holds.mu.Lock()
	defer h.holds.mu.Unlock()
	for _, file := range h.holds.files {
		_ = file.Close()
	}
	clear(h.holds.files)
}

// take holds the file at path. One that is not there, or is being removed at this
// moment, is none to hold.
func (h *holds) take(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files[path] != nil {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// It waits for one who removes it, which is a matter of microseconds.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH); err != nil {
		_ = file.Close()
		return err
	}
	if !isAt(file, path) {
		return file.Close()
	}
	if h.files == nil {
		h.files = map[string]*os.File{}
	}
	h.files[path] = file
	return nil
}
