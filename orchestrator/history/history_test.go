package history

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vxorch/orchestrator/report"
)

func run(lab string, changed int) *report.Result {
	return &report.Result{
		Version: 1, Lab: lab, Verb: "deploy", Result: report.Pass, Changed: changed,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.5,
		Hosts:  []report.Host{{Name: "a", Result: report.OK}},
		Probes: []report.Probe{{Kind: "ping", From: "x", To: "y", Result: report.Pass}},
	}
}

func save(t *testing.T, s Store, r *report.Result) int {
	t.Helper()
	n, err := s.Save(r)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRunsAreNumberedAndReadBack(t *testing.T) {
	s := Store{t.TempDir()}
	for want := 1; want <= 3; want++ {
		if got := save(t, s, run("lu", want)); got != want {
			t.Errorf("Save gave %d, want %d", got, want)
		}
	}
	save(t, s, run("other", 9))
	for n, want := range map[int]int{0: 3, 1: 1, 2: 2, 3: 3} {
		got, err := s.Load("lu", n)
		if err != nil {
			t.Fatal(err)
		}
		kept := run("lu", want)
		kept.Run = want
		if diff := cmp.Diff(kept, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("Load(lu, %d) (-want +got):\n%s", n, diff)
		}
	}
}

func TestOnlyTheUserCanReadRuns(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "state")}
	save(t, s, run("lu", 1))
	err := filepath.WalkDir(s.Root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v, want it for the user alone", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheLastTwentyStay(t *testing.T) {
	s := Store{t.TempDir()}
	for i := range 23 {
		save(t, s, run("lu", i))
	}
	got, err := s.List("lu")
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for n := 4; n <= 23; n++ {
		want = append(want, n)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if _, err := s.Load("lu", 3); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "kept are 4 to 23") {
		t.Errorf("Load of a forgotten run = %v, want fs.ErrNotExist and what is kept", err)
	}
	entries, err := os.ReadDir(filepath.Join(s.Root, "vxorch", "lu"))
	if err != nil || len(entries) != 20 {
		t.Errorf("the directory holds %d files (%v), want 20", len(entries), err)
	}
}

func TestRunsSavedAtOnceDoNotOverwriteEachOther(t *testing.T) {
	s := Store{t.TempDir()}
	const count = 15
	numbers := make([]int, count)
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() {
			n, err := s.Save(run("lu", i))
			if err != nil {
				t.Error(err)
			}
			numbers[i] = n
		})
	}
	group.Wait()
	for i, n := range numbers {
		got, err := s.Load("lu", n)
		if err != nil {
			t.Fatal(err)
		}
		if got.Changed != i {
			t.Errorf("run %d is of saver %d, want %d", n, got.Changed, i)
		}
	}
	slices.Sort(numbers)
	if numbers[0] != 1 || numbers[count-1] != count {
		t.Errorf("numbers %v, want 1 to %d", numbers, count)
	}
}

func TestLatestIsOfAllLabs(t *testing.T) {
	s := Store{t.TempDir()}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, lab := range []string{"b", "c", "a"} {
		n := save(t, s, run(lab, i))
		if err := os.Chtimes(path(filepath.Join(s.Root, "vxorch", lab), n), now, now.Add(time.Duration(i%2)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	// What else lies there is not a run.
	if err := os.MkdirAll(filepath.Join(s.Root, "vxorch", "Not.A.Lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.Root, "vxorch", "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := s.Latest()
	if err != nil {
		t.Fatal(err)
	}
	if got.Lab != "c" {
		t.Errorf("Latest is of lab %s, want c", got.Lab)
	}
}

func TestWithoutRunsTheErrorSaysSo(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "never made")}
	if _, err := s.Latest(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Latest = %v, want fs.ErrNotExist", err)
	}
	_, err := s.Load("lu", 0)
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "lab lu has no runs" {
		t.Errorf("Load = %v, want fs.ErrNotExist in words", err)
	}
	if got, err := s.List("lu"); err != nil || len(got) != 0 {
		t.Errorf("List = %v, %v, want none", got, err)
	}
	if _, err := os.Stat(s.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Error("reading made directories")
	}
}

func TestNamesThatLeaveTheDirectoryAreRefused(t *testing.T) {
	s := Store{t.TempDir()}
	for _, lab := range []string{"", ".", "..", "a/b", "../x", "Lu", "a.b", strings.Repeat("a", 21)} {
		if _, err := s.Save(run(lab, 1)); err == nil {
			t.Errorf("Save of lab %q = nil, want an error", lab)
		}
		if _, err := s.Load(lab, 0); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load of lab %q = %v, want it refused", lab, err)
		}
		if _, err := s.List(lab); err == nil {
			t.Errorf("List of lab %q = nil, want an error", lab)
		}
	}
}

func TestADamagedRunIsNamed(t *testing.T) {
	for name, text := range map[string]string{
		"cut off":       `{"version": 1, "lab": "l`,
		"empty":         "",
		"other version": `{"version": 2}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := Store{t.TempDir()}
			n := save(t, s, run("lu", 1))
			file := path(filepath.Join(s.Root, "vxorch", "lu"), n)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load("lu", 0); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("Load = %v, want an error that names %s", err, file)
			}
			if _, err := s.Latest(); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("Latest = %v, want an error that names %s", err, file)
			}
			if got := save(t, s, run("lu", 2)); got != n+1 {
				t.Errorf("Save after that gave %d, want %d", got, n+1)
			}
		})
	}
}

func TestWhatCannotBeWrittenIsAnErrorAndLeavesNothing(t *testing.T) {
	s := Store{t.TempDir()}
	bad := run("lu", 1)
	bad.Seconds = math.Inf(1) // JSON has no infinity
	if _, err := s.Save(bad); err == nil {
		t.Error("Save of an infinity = nil, want an error")
	}
	entries, err := os.ReadDir(filepath.Join(s.Root, "vxorch", "lu"))
	if err != nil || len(entries) != 0 {
		t.Errorf("the directory holds %v (%v), want nothing", entries, err)
	}
	blocked := Store{filepath.Join(t.TempDir(), "file")}
	if err := os.WriteFile(blocked.Root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blocked.Save(run("lu", 1)); err == nil {
		t.Error("Save below a file = nil, want an error")
	}
}

func ExampleStore() {
	root, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(root)
	s := Store{Root: root}
	n, _ := s.Save(&report.Result{Version: 1, Lab: "lu", Verb: "deploy", Result: report.Pass})
	r, _ := s.Load("lu", 0)
	fmt.Println(n, r.Lab, r.Verb, r.Result)
	// Output: 1 lu deploy pass
}
