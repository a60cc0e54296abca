package frr

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
)

// traces are directories that daemons make where they are not there, whatever they
// are told. Those that came with a lab bear the mark: a file in them, since one is
// on a disk, and outlives what is noted of the lab.
type traces struct {
	run  string // empty
	logs string // what each has not logged yet, in a directory of its own, which one that is killed leaves behind
}

var here = traces{"/run/frr", "/var/tmp/frr"}

// came is the mark.
const came = "vxorch"

// called is what a daemon of a lab's is told it is called: its directory among the
// logs bears that name and its pid, so that it is known whatever happened since.
func called(name, lab string) string { return name + "-vxorch-" + lab }

// make makes those of them that are not there, with their mark, for a lab whose
// directory stands. A host that has them keeps them, and where one cannot be made
// daemons do without.
func (t traces) make(lab string, uid, gid int) {
	for path, mode := range map[string]fs.FileMode{t.run: 0o755, t.logs: 0o700} {
		// In whole or not at all, however it ends.
		draft := path + "." + called("made", lab)
		_ = os.RemoveAll(draft)
		if _, err := os.Lstat(path); err == nil || os.Mkdir(draft, 0o700) != nil {
			continue
		}
		err := os.WriteFile(filepath.Join(draft, came), nil, 0o600)
		if err == nil {
			err = os.Chmod(draft, mode)
		}
		if err == nil {
			err = os.Lchown(draft, uid, gid)
		}
		if err == nil {
			err = unix.Renameat2(unix.AT_FDCWD, draft, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		}
		if err != nil {
			_ = os.RemoveAll(draft)
		}
	}
}

// sweep removes the logs of labs' daemons that have ended.
func (t traces) sweep() {
	entries, err := os.ReadDir(t.logs)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, number, _ := strings.Cut(e.Name(), ".")
		pid, err := strconv.Atoi(number)
		daemon, lab, ours := strings.Cut(name, "-vxorch-")
		if err != nil || pid < 1 || !ours || lab == "" || !slices.Contains(names, daemon) {
			continue
		}
		// Of one that has ended, and that nobody has waited for yet, this is empty.
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		first, _, _ := strings.Cut(string(args), "\x00")
		if filepath.Base(first) != name {
			_ = os.RemoveAll(filepath.Join(t.logs, e.Name()))
		}
	}
}

// remove removes those that came with a lab when no lab is left that has an FRR, if
// nobody else uses them: what they hold besides is another's.
func (t traces) remove(store own.Store) {
	t.sweep()
	if len(store.Every(own.FRR)) > 0 {
		return
	}
	for _, path := range []string{t.run, t.logs} {
		drafts, _ := filepath.Glob(path + "." + called("made", "*")) // of ones that died
		for _, draft := range drafts {
			_ = os.RemoveAll(draft)
		}
		mark := filepath.Join(path, came)
		entries, err := os.ReadDir(path)
		if err != nil || len(entries) != 1 || entries[0].Name() != came {
			continue
		}
		_ = os.Remove(mark)
		if os.Remove(path) != nil {
			// Somebody came. The directory is FRR's user's: nothing that is there is written to.
			if file, err := os.OpenFile(mark, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
				_ = file.Close()
			}
		}
	}
}
