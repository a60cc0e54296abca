package frr

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// away has daemons make their directories below one of the test's.
func away(t *testing.T) (where traces, dir string) {
	t.Helper()
	root := t.TempDir()
	return traces{filepath.Join(root, "run"), filepath.Join(root, "logs")}, t.TempDir()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func TestWhatDaemonsMakeGoesUnlessItWasThere(t *testing.T) {
	at, dir := away(t)
	if err := os.Mkdir(at.run, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := at.note(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at.logs, 0o755); err != nil { // as a daemon does
		t.Fatal(err)
	}
	if err := at.note(dir); err != nil { // before a second start
		t.Fatal(err)
	}
	at.remove(dir)
	if !exists(at.run) || exists(at.logs) {
		t.Errorf("%s is there: %t, %s: %t; want the one that was there before", at.run, exists(at.run), at.logs, exists(at.logs))
	}
}

func TestWhatOthersUseStays(t *testing.T) {
	at, dir := away(t)
	if err := at.note(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(at.logs, "ospfd.7"), 0o755); err != nil {
		t.Fatal(err)
	}
	at.remove(dir)
	if !exists(at.logs) {
		t.Error("a directory that somebody uses was removed")
	}
}

func TestLogOfADaemonThatWasKilledGoes(t *testing.T) {
	for name, c := range map[string]struct {
		pid  string
		goes bool
	}{
		"it has ended":   {"999999999", true},
		"it lives":       {strconv.Itoa(os.Getpid()), false},
		"it says a path": {"7/../../x", false},
	} {
		t.Run(name, func(t *testing.T) {
			at, dir := away(t)
			log := filepath.Join(at.logs, "bgpd."+filepath.Base(c.pid))
			for _, d := range []string{filepath.Join(dir, "run"), log} {
				if err := os.MkdirAll(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "run", "bgpd.pid"), []byte(c.pid+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			at.removeLog(dir, "bgpd")
			if exists(log) == c.goes {
				t.Errorf("its log is there: %t, want %t", exists(log), !c.goes)
			}
		})
	}
}
