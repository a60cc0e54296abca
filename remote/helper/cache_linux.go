package helper

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The cache of helpers on a host, as the controller lays it out: a directory
// named by the helper's SHA-256 with the helper in it, and uploads on their way.
const (
	cacheName  = "vxorch"
	helperName = "vxhelper"
)

// uploadTime is how long a helper may be on its way: what is younger may be in
// the hands of another controller.
const uploadTime = time.Hour

// isHash says whether name is a SHA-256 as the cache writes it. Package regexp
// would cost a hundred kilobytes of helper.
func isHash(name string) bool {
	return len(name) == 2*sha256.Size && strings.Trim(name, "0123456789abcdef") == ""
}

// cache is one user's helpers on this machine.
type cache struct {
	dir  string
	self string   // path of the helper that runs
	busy []string // paths of the programs that run
}

// cleanHelpers cleans the cache that this helper was started from, if it was.
func cleanHelpers() (removed []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("clean the cache of helpers: %w", err)
	}
	if c := openCache(self, running()); c != nil {
		return c.clean(time.Now())
	}
	return nil, nil
}

// openCache gives the cache that the helper self was started from, nil if it was
// started from elsewhere.
func openCache(self string, busy []string) *cache {
	dir := filepath.Dir(filepath.Dir(self))
	if filepath.Base(self) != helperName || !isHash(filepath.Base(filepath.Dir(self))) || filepath.Base(dir) != cacheName {
		return nil
	}
	return &cache{dir, self, busy}
}

// clean removes the helpers that do not run and the uploads that were given up,
// and tells their paths.
func (c *cache) clean(now time.Time) (removed []string, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("clean the cache of helpers: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !isHash(e.Name()) {
			continue
		}
		gone, err := c.cleanOne(filepath.Join(c.dir, e.Name()), now)
		removed = append(removed, gone...)
		if err != nil {
			return removed, fmt.Errorf("clean the cache of helpers: %w", err)
		}
	}
	return removed, nil
}

// cleanOne cleans the directory of one helper.
func (c *cache) cleanOne(dir string, now time.Time) (removed []string, err error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if now.Sub(info.ModTime()) < uploadTime {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if path == c.self || slices.Contains(c.busy, path) || !strings.HasPrefix(e.Name(), helperName) {
			continue
		}
		switch err := os.Remove(path); {
		case err == nil:
			removed = append(removed, path)
		case !errors.Is(err, fs.ErrNotExist): // another cleans, too
			return removed, err
		}
	}
	_ = os.Remove(dir) // if nothing is left in it
	return removed, nil
}

// running lists the programs of the processes that this one may look at.
func running() []string {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil
	}
	var programs []string
	for _, link := range links {
		if program, err := os.Readlink(link); err == nil { // else it ended, or belongs to the kernel
			programs = append(programs, program)
		}
	}
	return programs
}
