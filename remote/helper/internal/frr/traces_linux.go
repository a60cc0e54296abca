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

// logs is where daemons keep what they have not logged yet, each in a directory of
// its own. One that is killed leaves it behind. There is no option for the place.
const logs = "/var/tmp/frr"

// made are directories that daemons make where they are not there.
var made = []string{"/run/frr", logs}

// noteMade notes which of them are not there, so that Remove can take them away:
// a host that has them keeps them.
func noteMade(dir string) error {
	file := filepath.Join(dir, "made")
	if _, err := os.Lstat(file); err == nil {
		return nil // by an earlier start, whose daemons have made them
	}
	var absent []string
	for _, path := range made {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			absent = append(absent, path)
		}
	}
	return os.WriteFile(file, []byte(strings.Join(absent, "\n")), 0o600)
}

// removeMade removes those of them that nobody uses. What is left is somebody's.
func removeMade(dir string) {
	text, err := os.ReadFile(filepath.Join(dir, "made"))
	if err != nil {
		return
	}
	for _, path := range made {
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == path {
				_ = os.Remove(path)
			}
		}
	}
}

// removeLog removes what a daemon that has ended left of its log. Its pid is its own
// word, so that one that lives counts as another's.
func removeLog(dir, name string) {
	text, err := os.ReadFile(filepath.Join(dir, "run", name+".pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return
	}
	if _, err := os.Lstat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(fmt.Sprintf("%s/%s.%d", logs, name, pid))
	}
}
