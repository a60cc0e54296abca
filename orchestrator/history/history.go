// Package history is what the controller remembers of labs: the results of the
// last twenty runs of each, as files of the contract's JSON, and what it last
// knew of the hosts. When to save, and what a run means, it leaves to others.
package history

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/adrg/xdg"

	"vxorch/orchestrator/report"
)

const (
	// keep is how many runs of a lab stay.
	keep = 20
	// version is the one of the results that can be read here.
	version = 1
)

var (
	labName = regexp.MustCompile(`^[a-z0-9-]{1,20}$`)
	runFile = regexp.MustCompile(`^run-(\d{6,})\.json$`)
)

// Store keeps runs under Root/vxorch/LAB. Safe for concurrent use, also by
// several processes.
type Store struct {
	Root string
}

// DefaultRoot is the user's directory for state, $XDG_STATE_HOME.
func DefaultRoot() string { return xdg.StateHome }

// Save keeps r as its lab's next run and gives the run's number, which counts
// from 1. Only the user can read it: results name hosts and addresses.
func (s Store) Save(r *report.Result) (n int, err error) {
	dir, err := s.dir(r.Lab)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("keep the run: %w", err)
	}
	temporary, err := write(dir, func(w io.Writer) error { return report.WriteJSON(w, r) })
	if err != nil {
		return 0, fmt.Errorf("keep the run: %w", err)
	}
	defer os.Remove(temporary)
	numbers, err := s.List(r.Lab)
	if err != nil {
		return 0, err
	}
	n = 1
	if len(numbers) > 0 {
		n = numbers[len(numbers)-1] + 1
	}
	// A link, unlike a rename, never replaces what another run put there.
	for err = os.Link(temporary, path(dir, n)); errors.Is(err, fs.ErrExist); {
		n++
		err = os.Link(temporary, path(dir, n))
	}
	if err != nil {
		return 0, fmt.Errorf("keep the run: %w", err)
	}
	for _, old := range numbers {
		if old > n-keep {
			break
		}
		if err := os.Remove(path(dir, old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, fmt.Errorf("forget run %d: %w", old, err)
		}
	}
	return n, nil
}

// write writes what content gives into a new file in dir, for the user alone, and
// gives its name.
func write(dir string, content func(io.Writer) error) (name string, err error) {
	var text bytes.Buffer
	if err := content(&text); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(text.Bytes())
	// On the disk before it has its name: it is whole or not there.
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}

// List gives the numbers of the runs that are kept of a lab, oldest first; none
// of a lab that never ran.
func (s Store) List(lab string) ([]int, error) {
	dir, err := s.dir(lab)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the runs of lab %s: %w", lab, err)
	}
	var numbers []int
	for _, entry := range entries {
		match := runFile.FindStringSubmatch(entry.Name())
		if match == nil {
			continue
		}
		if n, err := strconv.Atoi(match[1]); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Load gives the run numbered n of a lab, 0 for its latest. The error wraps
// fs.ErrNotExist if it is not kept.
func (s Store) Load(lab string, n int) (*report.Result, error) {
	dir, err := s.dir(lab)
	if err != nil {
		return nil, err
	}
	numbers, err := s.List(lab)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, absent(fmt.Sprintf("lab %s has no runs", lab))
	}
	latest := numbers[len(numbers)-1]
	r, err := read(dir, cmp.Or(n, latest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent(fmt.Sprintf("lab %s has no run %d; kept are %d to %d", lab, n, numbers[0], latest))
	}
	return r, err
}

// Latest gives the latest run of all labs. The error wraps fs.ErrNotExist if
// there is none.
func (s Store) Latest() (*report.Result, error) {
	top := filepath.Join(s.Root, "vxorch")
	entries, err := os.ReadDir(top)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for runs: %w", err)
	}
	var dir string // of the latest
	var n int
	var saved time.Time
	for _, entry := range entries {
		lab := entry.Name()
		if !entry.IsDir() || !labName.MatchString(lab) {
			continue
		}
		numbers, err := s.List(lab)
		if err != nil {
			return nil, err
		}
		if len(numbers) == 0 {
			continue
		}
		of, last := filepath.Join(top, lab), numbers[len(numbers)-1]
		// By the file's time: an unreadable run of another lab is not in the way.
		info, err := os.Stat(path(of, last))
		if err == nil && (dir == "" || info.ModTime().After(saved)) {
			dir, n, saved = of, last, info.ModTime()
		}
	}
	if dir == "" {
		return nil, absent("no lab has any runs")
	}
	return read(dir, n)
}

func read(dir string, n int) (*report.Result, error) {
	file := path(dir, n)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	var r report.Result
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read the run: %s is damaged: %w", file, err)
	}
	if r.Version != version {
		return nil, fmt.Errorf("read the run: %s has version %d, not %d", file, r.Version, version)
	}
	r.Run = n // it has none before it is kept
	return &r, nil
}

func (s Store) dir(lab string) (string, error) {
	if !labName.MatchString(lab) {
		return "", fmt.Errorf("%q cannot name a lab", lab)
	}
	return filepath.Join(s.Root, "vxorch", lab), nil
}

func path(dir string, n int) string {
	return filepath.Join(dir, fmt.Sprintf("run-%06d.json", n))
}

// absent is an fs.ErrNotExist in words that help.
type absent string

func (e absent) Error() string { return string(e) }

func (e absent) Is(target error) bool { return target == fs.ErrNotExist }
