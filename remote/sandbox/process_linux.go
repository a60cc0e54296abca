package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identify gives the process that has that number now; dead is one that only
// waits for its parent. The error wraps fs.ErrNotExist if there is none.
func identify(pid int) (p process, dead bool, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, unix.ESRCH) { // it ended between open and read
		err = fs.ErrNotExist
	}
	if err != nil {
		return process{}, false, fmt.Errorf("process %d: %w", pid, err)
	}
	// The second field, the name in parentheses, may hold anything.
	_, after, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(after)
	if len(fields) < 20 {
		return process{}, false, fmt.Errorf("process %d: strange stat %q", pid, text)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}, false, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return process{PID: pid, Start: start}, fields[0] == "Z" || fields[0] == "X", nil
}

// alive says whether p still runs; on doubt it does.
func (p process) alive() bool {
	now, dead, err := identify(p.PID)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return now == p && !dead
}

// kill ends p, unless it has ended, and waits until it has.
func (p process) kill(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	// The descriptor is of whatever process has the number by now.
	now, _, err := identify(p.PID)
	if errors.Is(err, fs.ErrNotExist) || err == nil && now != p {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	for {
		const slice = 50 // milliseconds between looks at ctx
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, slice)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", p.PID, err)
		case ctx.Err() != nil:
			return fmt.Errorf("wait for process %d: %w", p.PID, context.Cause(ctx))
		}
	}
}

// bootID names the machine's current boot.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// readJSON reads what writeJSON wrote.
func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON writes path so that it is whole or not there, whenever this process
// dies.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), temporaryName(filepath.Base(path)))
	if err := os.WriteFile(temporary, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// temporaryName is what a file is called until it is whole.
func temporaryName(file string) string { return "." + file }
