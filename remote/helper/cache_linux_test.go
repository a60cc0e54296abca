package helper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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

	caches, err := openCaches(filepath.Join(root, own, "vxhelper"), "")
	if err != nil || len(caches) != 1 {
		t.Fatalf("caches %v, %v; want that of the helper", caches, err)
	}
	t.Cleanup(func() { closeCaches(caches) })
	running := []string{"/bin/sh", filepath.Join(root, busy, "vxhelper")}
	for _, want := range [][]string{{own + "/vxhelper.0123", old + "/vxhelper", old + "/vxhelper.4567"}, nil} {
		var paths []string
		for _, w := range want {
			paths = append(paths, filepath.Join(root, w))
		}
		got, err := caches[0].clean(now, running, 1)
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

func TestCachesAreKnownByTheirHelpers(t *testing.T) {
	dir, hash := t.TempDir(), strings.Repeat("0", 64)
	for file, want := range map[string]bool{
		"vxorch/" + hash + "/vxhelper":          true,
		"vxorch-1000/" + hash + "/vxhelper":     true,
		"vxorch/" + hash + "/other":             false,
		"other/" + hash + "/vxhelper":           false,
		"vxorch/" + hash[1:] + "/vxhelper":      false,
		"vxorch-missing/" + hash + "/vxhelper":  false,
		"vxorchestra/" + hash + "/vxhelper":     false,
		"vxorch/" + hash + "/deeper/vxhelper":   false,
		"vxorch/more/" + hash + "/vxhelper":     false,
		"vxorch/" + hash + "/vxhelper/vxhelper": false,
	} {
		file = filepath.Join(dir, file)
		if !strings.Contains(file, "missing") {
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][2]string{{file, ""}, {"/usr/bin/vxhelper", file}} {
			caches, err := openCaches(args[0], args[1])
			if err != nil || (len(caches) == 1) != want {
				t.Errorf("openCaches(%q) = %v, %v; want a cache: %v", args, caches, err, want)
			}
			closeCaches(caches)
		}
	}
}

// TestHelperKeepsTheLastThree starts a helper from a cache with four others,
// one of which runs.
func TestHelperKeepsTheLastThree(t *testing.T) {
	root := filepath.Join(t.TempDir(), "vxorch-1000")
	file := func(digit string) string { return filepath.Join(root, strings.Repeat(digit, 64), "vxhelper") }
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	put := func(digit string, age time.Duration) {
		t.Helper()
		then := time.Now().Add(-age)
		if err := errors.Join(
			os.MkdirAll(filepath.Dir(file(digit)), 0o700), os.WriteFile(file(digit), program, 0o700),
			os.Chtimes(file(digit), then, then), os.Chtimes(filepath.Dir(file(digit)), then, then),
		); err != nil {
			t.Fatal(err)
		}
	}
	put("c", 8*time.Hour)
	busy := start(t, file("c")) // which is not to be removed, nor to remove others
	busy.greeted()
	if err := busy.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ages := map[string]time.Duration{"a": 9 * time.Hour, "b": 2 * time.Hour, "c": 8 * time.Hour, "d": 3 * time.Hour, "e": 4 * time.Hour}
	for digit, age := range ages {
		if digit != "c" {
			put(digit, age)
		}
	}
	then := time.Now().Add(-ages["c"])
	if err := errors.Join(os.Chtimes(file("c"), then, then), os.Chtimes(filepath.Dir(file("c")), then, then)); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Second) // clocks of files are coarse
	start(t, file("a")).greeted()
	want := []string{"a", "b", "c", "d"}
	var left []string
	for range 600 {
		left = nil
		for digit := range ages {
			if _, err := os.Stat(file(digit)); err == nil {
				left = append(left, digit)
			}
		}
		slices.Sort(left)
		if slices.Equal(left, want) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if d := cmp.Diff(want, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	if info, err := os.Stat(file("a")); err != nil || info.ModTime().Before(began) {
		t.Errorf("the start was not noted: %v, %v", info, err)
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
