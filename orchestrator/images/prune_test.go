package images

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vxorch/inventory"
)

func TestPruneRemovesWhatWasNotUsedForLong(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	now := time.Now()
	put := func(name string, age time.Duration) string {
		t.Helper()
		path := filepath.Join(c.Dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := put("old.img", 31*24*time.Hour)
	used := put("used.img", 90*24*time.Hour)
	put("young.img", 29*24*time.Hour)
	part := put("part-abc", 31*24*time.Hour)
	busy := put("part-def", 31*24*time.Hour)
	put("url-abc.json", 31*24*time.Hour)
	for range 2 { // its sum is found out, then looked up
		if _, err := c.Resolve(t.Context(), inventory.Image{Name: "used", File: used}, nil); err != nil {
			t.Fatal(err)
		}
		known := filepath.Join(c.Dir, sumName(used))
		if err := os.Chtimes(known, now.Add(-40*24*time.Hour), now.Add(-40*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Resolve(t.Context(), inventory.Image{Name: "used", File: used}, nil); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	removed, err := c.Prune(now)
	if want := []string{old, part}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("Prune = %q, %v; want %q", removed, err, want)
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"part-def", sumName(used), "used.img", "young.img"}; !slices.Equal(left, want) {
		t.Errorf("left are %s, want %s", strings.Join(left, " "), strings.Join(want, " "))
	}
	if removed, err := (Cache{Dir: filepath.Join(c.Dir, "none")}).Prune(now); err != nil || len(removed) > 0 {
		t.Errorf("without a cache: %q, %v", removed, err)
	}
}
