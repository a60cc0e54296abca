package frr

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// traces are directories that daemons make where they are not there, whatever they
// are told.
type traces struct {
	run  string // empty
	logs string // what each has not logged yet, in a directory of its own, which one that is killed leaves behind
}

var here = traces{"/run/frr", "/var/tmp/frr"}

// note notes which of them are not there, so that Remove can take them away: a host
// that has them keeps them.
func (t traces) note(dir string) error {
	file := filepath.Join(dir, "made")
	if _, err := os.Lstat(file); err == nil {
		return nil // by an earlier start, whose daemons have made them
	}
	var absent []string
	for _, path := range []string{t.run, t.logs} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			absent = append(absent, path)
		}
	}
	return os.WriteFile(file, []byte(strings.Join(absent, "\n")), 0o600)
}

// remove removes those of them that were not there, if nobody uses them.
func (t traces) remove(dir string) {
	text, err := os.ReadFile(filepath.Join(dir, "made"))
	if err != nil {
		return
	}
	for _, path := range []string{t.run, t.logs} {
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == path {
				_ = os.Remove(path)
			}
		}
	}
}

// removeLog removes what a daemon that has ended left of its log. Its pid is its own
// word, so that one that lives counts as another's.
func (t traces) removeLog(dir, name string) {
	text, err := os.ReadFile(filepath.Join(dir, "run", name+".pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return
	}
	// Of one that has ended, and that nobody has waited for yet, there is no exe.
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(fmt.Sprintf("%s/%s.%d", t.logs, name, pid))
	}
}
