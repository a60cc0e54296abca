package images

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// idle is for how long nobody has used what Prune removes.
const idle = 30 * 24 * time.Hour

// Prune removes what was fetched and has not been used for 30 days, and fetches
// that were given up as long ago, and tells the paths of the images among it. All
// that it removes can be fetched, or found out, again.
func (c Cache) Prune(now time.Time) (removed []string, err error) {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(c.Dir, e.Name())
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || now.Sub(c.used(path, info)) < idle {
			continue // or gone by now
		}
		if strings.HasPrefix(e.Name(), "part-") && isLocked(path) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		} else if strings.HasSuffix(path, ".img") || strings.HasPrefix(e.Name(), "part-") {
			removed = append(removed, path)
		}
	}
	return removed, errors.Join(append(errs, err)...)
}

// used is when a file of the cache was last of use: an image's sum is looked up
// whenever the image is.
func (c Cache) used(path string, info fs.FileInfo) time.Time {
	last := info.ModTime()
	if strings.HasSuffix(path, ".img") {
		if known, err := os.Stat(filepath.Join(c.Dir, sumName(path))); err == nil && known.ModTime().After(last) {
			last = known.ModTime()
		}
	}
	return last
}

// isLocked says whether somebody fetches into that part.
func isLocked(path string) bool {
	part, err := os.Open(path)
	if err != nil {
		return false
	}
	defer part.Close()
	return syscall.Flock(int(part.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}
