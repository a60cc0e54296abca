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
// The time of a helper's last change is that of its last start.
const (
	cacheName  = "vxorch" // or with a dash and a user's number behind it
	helperName = "vxhelper"
)

// uploadTime is how long a helper may be on its way: what is younger may be in
// the hands of another controller.
const uploadTime = time.Hour

// helpersKept is how many helpers stay in a cache, the one that runs among them:
// as many versions of vxorch may take turns on a host.
const helpersKept = 3

// isHash says whether name is a SHA-256 as the cache writes it. Package regexp
// would cost a hundred kilobytes of helper.
func isHash(name string) bool {
	return len(name) == 2*sha256.Size && strings.Trim(name, "0123456789abcdef") == ""
}

// cache is one user's helpers on this machine.
type cache struct {
	dir  string
	root *os.Root // of dir: nobody leads a helper that runs as root out of it
	own  string   // hash of the helper that runs
}

// openCaches opens the cache that the helper self was started from, if it was,
// and the one that it is a copy from, if source is not empty.
func openCaches(self, source string) (caches []*cache, err error) {
	for _, file := range []string{self, source} {
		dir := filepath.Dir(filepath.Dir(file))
		hash := filepath.Base(filepath.Dir(file))
		name, _, _ := strings.Cut(filepath.Base(dir), "-")
		if filepath.Base(file) != helperName || !isHash(hash) || name != cacheName {
			continue
		}
		root, err := os.OpenRoot(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeCaches(caches)
			return nil, err
		}
		caches = append(caches, &cache{dir, root, hash})
	}
	return caches, nil
}

func closeCaches(caches []*cache) {
	for _, c := range caches {
		c.root.Close()
	}
}

// withCaches calls do for each cache that this helper has to do with, and joins
// what it tells.
func withCaches(source string, do func(*cache) ([]string, error)) (removed []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	caches, err := openCaches(self, source)
	if err != nil {
		return nil, err
	}
	defer closeCaches(caches)
	for _, c := range caches {
		gone, err := do(c)
		removed = append(removed, gone...)
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// cleanHelpers cleans the caches that this helper has to do with.
func cleanHelpers(source string) (removed []string, err error) {
	busy := running()
	removed, err = withCaches(source, func(c *cache) ([]string, error) { return c.clean(time.Now(), busy, 1) })
	if err != nil {
		return removed, fmt.Errorf("clean the cache of helpers: %w", err)
	}
	return removed, nil
}

// keepHelpers notes that this helper was started and removes those that were not
// for long. It is housekeeping: errors are of no consequence.
func keepHelpers(source string) {
	now := time.Now()
	_, _ = withCaches(source, func(c *cache) ([]string, error) {
		_ = c.root.Chtimes(filepath.Join(c.own, helperName), now, now)
		hashes, err := c.hashes()
		if err != nil || len(hashes) <= helpersKept {
			return nil, err
		}
		return c.clean(now, running(), helpersKept)
	})
}

// hashes lists the directories of helpers, those of the helpers that were
// started last first.
func (c *cache) hashes() ([]string, error) {
	dir, err := c.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isHash(name) })
	slices.Sort(names)
	used := map[string]time.Time{}
	for _, name := range names {
		if info, err := c.root.Lstat(filepath.Join(name, helperName)); err == nil {
			used[name] = info.ModTime()
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		if a == c.own || b == c.own {
			return boolInt(b == c.own) - boolInt(a == c.own)
		}
		return used[b].Compare(used[a])
	})
	return names, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// clean removes helpers that do not run, but the first kept ones, and uploads
// that were given up, and tells their paths. busy are the programs that run.
func (c *cache) clean(now time.Time, busy []string, kept int) (removed []string, err error) {
	hashes, err := c.hashes()
	if err != nil {
		return nil, err
	}
	for i, hash := range hashes {
		gone, err := c.cleanOne(hash, now, busy, i < kept)
		removed = append(removed, gone...)
		if err != nil {
			return removed, err
		}
	}
	slices.Sort(removed)
	return removed, nil
}

// cleanOne cleans the directory of one helper, which may be kept.
func (c *cache) cleanOne(hash string, now time.Time, busy []string, keep bool) (removed []string, err error) {
	info, err := c.root.Lstat(hash)
	if err != nil || !info.IsDir() || now.Sub(info.ModTime()) < uploadTime {
		return nil, ignoreMissing(err) // another cleans, too
	}
	dir, err := c.root.Open(hash)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		file := filepath.Join(hash, name)
		path := filepath.Join(c.dir, file)
		if !strings.HasPrefix(name, helperName) || name == helperName && (keep || hash == c.own) || slices.Contains(busy, path) {
			continue
		}
		switch err := c.root.Remove(file); {
		case err == nil:
			removed = append(removed, path)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, err
		}
	}
	_ = c.root.Remove(hash) // if nothing is left in it
	return removed, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
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
