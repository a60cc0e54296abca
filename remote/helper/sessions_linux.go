package helper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// sessions lists the other helpers on this machine that work for lab and can
// change what is there: those of this user. Those in another pid namespace are a
// container's, which may be a host of a lab of that name itself.
func sessions(lab string) ([]string, error) {
	mine, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("look for other sessions: %w", err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, dir := range dirs {
		// What cannot be read has ended, or is not ours to look at.
		text, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !serves(strings.Split(string(text), "\x00"), lab) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		var stat syscall.Stat_t
		if syscall.Stat(dir, &stat) != nil || int(stat.Uid) != os.Geteuid() {
			continue
		}
		if its, err := os.Readlink(dir + "/ns/pid"); err != nil || its != mine {
			continue
		}
		found = append(found, fmt.Sprintf("process %d (%s of another session)", pid, helperName))
	}
	slices.Sort(found)
	return found, nil
}

// serves tells whether a command line is that of a helper that works for lab.
func serves(args []string, lab string) bool {
	if len(args) < 2 || filepath.Base(args[0]) != helperName || args[1] != "serve" {
		return false
	}
	at := slices.Index(args, "--lab")
	return at >= 0 && at+1 < len(args) && args[at+1] == lab
}
