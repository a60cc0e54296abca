package frr

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vxorch/remote/helper/internal/own"
)

// away has daemons make their directories below one of the test's, where no lab has
// an FRR.
func away(t *testing.T) (traces, own.Store) {
	t.Helper()
	root := t.TempDir()
	return traces{filepath.Join(root, "run"), filepath.Join(root, "logs")}, own.Store{Root: filepath.Join(root, "labs")}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// makes has lab make its directories, for the test's own user.
func (t traces) makes(lab string) { t.make(lab, os.Getuid(), os.Getgid()) }

func TestWhatDaemonsMakeGoesUnlessItWasThere(t *testing.T) {
	at, store := away(t)
	mkdir(t, at.run)
	at.makes("lu")
	at.makes("lu") // before a second start
	if !exists(at.logs) {
		t.Fatalf("%s was not made", at.logs)
	}
	at.remove(store)
	if !exists(at.run) || exists(at.logs) {
		t.Errorf("%s is there: %t, %s: %t; want the one that was there before", at.run, exists(at.run), at.logs, exists(at.logs))
	}
	if left, _ := os.ReadDir(filepath.Dir(at.run)); len(left) != 1 {
		t.Errorf("%v is left", left)
	}
}

func TestWhatDaemonsMakeGoesWithTheLastLab(t *testing.T) {
	at, store := away(t)
	at.makes("first")
	at.makes("second")
	dir, err := store.Path("second", own.FRR)
	if err != nil {
		t.Fatal(err)
	}
	mkdir(t, dir)
	at.remove(store) // the first lab's
	if !exists(at.run) || !exists(at.logs) {
		t.Errorf("%s is there: %t, %s: %t; want both while a lab is left", at.run, exists(at.run), at.logs, exists(at.logs))
	}
	if err := os.RemoveAll(store.Root); err != nil {
		t.Fatal(err)
	}
	at.remove(store)
	if exists(at.run) || exists(at.logs) {
		t.Errorf("%s is there: %t, %s: %t; want neither", at.run, exists(at.run), at.logs, exists(at.logs))
	}
}

func TestWhatOthersUseStays(t *testing.T) {
	at, store := away(t)
	at.makes("lu")
	for _, other := range []string{"ospfd.7", "zebra.999999999"} {
		dir := filepath.Join(at.logs, other)
		mkdir(t, dir)
		at.remove(store)
		if !exists(dir) {
			t.Errorf("%s is gone", dir)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	}
	at.remove(store)
	if exists(at.logs) {
		t.Errorf("%s stays when they have gone", at.logs)
	}
}

// One that dies as it makes a directory leaves a draft.
func TestDraftOfADirectoryGoes(t *testing.T) {
	at, store := away(t)
	for what, next := range map[string]func(){
		"the same lab comes": func() { at.makes("lu"); at.remove(store) },
		"it goes":            func() { at.remove(store) },
	} {
		mkdir(t, filepath.Join(at.logs+"."+called("made", "lu"), came))
		next()
		if left, _ := os.ReadDir(filepath.Dir(at.logs)); len(left) != 0 {
			t.Errorf("%s: %v is left", what, left)
		}
	}
}

func TestLogsOfDaemonsThatEndedGo(t *testing.T) {
	daemon := exec.Command("sleep", "1000")
	daemon.Args[0] = "/run/vxorch/lu/frr/" + called("bgpd", "lu")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	at, _ := away(t)
	for log, goes := range map[string]bool{
		"zebra-vxorch-lu.999999999":                          true,
		"bgpd-vxorch-of-old.999999998":                       true,
		fmt.Sprintf("bgpd-vxorch-lu.%d", daemon.Process.Pid): false, // it lives
		fmt.Sprintf("bgpd-vxorch-of.%d", daemon.Process.Pid): true,  // another has its pid by now
		"bgpd.999999999":                                     false,
		"ospfd-vxorch-lu.999999999":                          false,
		"bgpd-vxorch-.999999999":                             false,
		"bgpd-vxorch-lu.0":                                   false,
		"bgpd-vxorch-lu.7.7":                                 false,
		"bgpd-vxorch-lu":                                     false,
	} {
		dir := filepath.Join(at.logs, log)
		mkdir(t, dir)
		if err := os.WriteFile(filepath.Join(dir, "logbuf.7"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if at.sweep(); exists(dir) == goes {
			t.Errorf("%s is there: %t, want %t", log, exists(dir), !goes)
		}
	}
}
