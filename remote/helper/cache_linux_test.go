package helper

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCleanRemovesHelpersThatDoNotRun(t *testing.T) {
	root := filepath.Join(t.TempDir(), "vxorch")
	own, old, busy, young := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64), strings.Repeat("d", 64)
	now := time.Now()
	put := func(age time.Duration, files ...string) {
		t.Helper()
		for _, file := range files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Dir(path), now.Add(-age), now.Add(-age)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(24*time.Hour,
		own+"/vxhelper", own+"/vxhelper.0123", old+"/vxhelper", old+"/vxhelper.4567", busy+"/vxhelper",
		"notes/vxhelper", "file", strings.Repeat("e", 64)+"/of somebody else's")
	put(time.Minute, young+"/vxhelper.89ab")

	c := openCache(filepath.Join(root, own, "vxhelper"), []string{"/bin/sh", filepath.Join(root, busy, "vxhelper")})
	if c == nil {
		t.Fatal("the cache is not known by its helper")
	}
	for _, want := range [][]string{{own + "/vxhelper.0123", old + "/vxhelper", old + "/vxhelper.4567"}, nil} {
		var paths []string
		for _, w := range want {
			paths = append(paths, filepath.Join(root, w))
		}
		got, err := c.clean(now)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(paths, got); d != "" {
			t.Errorf("removed (-want +got):\n%s", d)
		}
		// The directory of the own helper has just changed.
		now = now.Add(48 * time.Hour)
		if err := os.Chtimes(filepath.Join(root, young), now, now); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if d := cmp.Diff([]string{own, busy, young, strings.Repeat("e", 64), "file", "notes"}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

func TestHelperFromElsewhereHasNoCache(t *testing.T) {
	hash := strings.Repeat("0", 64)
	for _, self := range []string{"/usr/bin/vxhelper", "/root/.cache/vxorch/" + hash + "/other", "/root/.cache/other/" + hash + "/vxhelper", "/root/.cache/vxorch/" + hash[1:] + "/vxhelper"} {
		if c := openCache(self, nil); c != nil {
			t.Errorf("%s: cache %s, want none", self, c.dir)
		}
	}
}

func TestRunningListsThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(running(), self) {
		t.Errorf("%s is not in %q", self, running())
	}
}
