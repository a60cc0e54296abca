package own

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// Lock is the right to change one lab on this host. It is an flock, so it ends
// with the process that holds it, however that ends.
type Lock struct {
	store Store
	lab   string
	file  *os.File
	text  []byte // what the file says
}

// entry is what the lock's file says of its holder. When the file was written
// last is when a sign of the holder's controller came last: see Lock.Heard.
type entry struct {
	hostapi.Holder
	Lease time.Duration `json:"lease,omitempty"`
}

// Lock takes the lab's lock for holder, without waiting. If another holds it
// the error is hostapi.ErrLocked and tells who.
func (s Store) Lock(lab string, holder hostapi.Holder) (*Lock, error) {
	dir, err := s.labDir(lab)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	// A holder that ends removes the file and the directories: whoever opened
	// them just before has a lock that nobody else will meet, and tries again.
	for range 100 {
		if err := s.mkdirsForLock(lab); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, fmt.Errorf("take the lock of lab %s: %w", lab, classify(err))
		}
		file, err := openAndLock(path)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK):
			other, silent, err := readEntry(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case other.Lease > 0 && silent > other.Lease/2: // a sign comes every third of it
				return nil, hostapi.SilentError(lab, other.Holder, silent, other.Lease)
			}
			return nil, hostapi.LockedError(lab, other.Holder)
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("take the lock of lab %s: %w", lab, classify(err))
		}
		lock := &Lock{store: s, lab: lab, file: file}
		if !lock.isAt(path) {
			_ = file.Close()
			continue
		}
		if err := lock.begin(holder); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("take the lock of lab %s: %w", lab, classify(err))
		}
		return lock, nil
	}
	return nil, fmt.Errorf("take the lock of lab %s: %s was removed again and again", lab, path)
}

// Held lists the labs whose locks are held, by whomever. It looks at the kernel's
// list: trying one, if only for a moment, could refuse it to who takes it then.
func (s Store) Held() ([]string, error) {
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	held := map[string]bool{} // MAJOR:MINOR:INODE
	for line := range strings.Lines(string(list)) {
		// 1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF; with -> after the number who waits
		if words := strings.Fields(line); len(words) > 5 && words[1] == "FLOCK" {
			held[words[5]] = true
		}
	}
	paths, err := filepath.Glob(filepath.Join(s.root(), "*", "lock"))
	if err != nil {
		return nil, err
	}
	var labs []string
	for _, path := range paths {
		var stat syscall.Stat_t
		if syscall.Lstat(path, &stat) != nil {
			continue // given back since
		}
		dev := uint64(stat.Dev)
		if held[fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), stat.Ino)] {
			labs = append(labs, filepath.Base(filepath.Dir(path)))
		}
	}
	return labs, nil
}

// Lab is the lab that is locked.
func (l *Lock) Lab() string { return l.lab }

// Release gives the lock back. The lab's directory goes too unless there are
// intents in it, and the labs' directory with the last lab.
func (l *Lock) Release() error {
	defer l.file.Close()
	dir := filepath.Join(l.store.root(), l.lab)
	// In this order, the lock held until the end: see Store.Lock. Remove does
	// not remove a directory with something in it.
	if err := os.Remove(filepath.Join(dir, "intents")); errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	for _, path := range []string{filepath.Join(dir, "lock"), dir, l.store.root()} {
		err := os.Remove(path)
		if errors.Is(err, syscall.ENOTEMPTY) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("give the lock of lab %s back: %w", l.lab, err)
		}
	}
	return nil
}

// OpenDir makes a directory of that name in the lab's, for daemons of another user,
// who may pass through those above it. One that is there is kept.
func (l *Lock) OpenDir(name string) (dir string, err error) {
	dir, err = l.store.Path(l.lab, name)
	if err == nil {
		err = os.Mkdir(dir, 0o711)
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	for _, d := range []string{l.store.root(), filepath.Dir(dir), dir} { // umask takes bits away
		if err == nil {
			err = os.Chmod(d, 0o711)
		}
	}
	if err == nil {
		err = trust(dir)
	}
	return dir, classify(err)
}

func openAndLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// isAt reports whether the locked file is the one that path names.
func (l *Lock) isAt(path string) bool {
	mine, err := l.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, named)
}

// begin says who holds the lock, and makes the directories: the last holder may have
// removed them between our making them and our lock.
func (l *Lock) begin(holder hostapi.Holder) error {
	if err := l.store.mkdirs(l.lab); err != nil {
		return err
	}
	text, err := json.Marshal(entry{holder, l.store.Lease})
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	l.text = append(text, '\n')
	return l.Heard()
}

// Heard notes that a sign of the holder's controller came just now. It is the
// file's own time that keeps this: unlike its text it is never half-written.
func (l *Lock) Heard() error {
	_, err := l.file.WriteAt(l.text, 0)
	return err
}

// readEntry reads who holds the lock, and for how long its controller has been
// silent. Whoever has just taken it may not have written that yet: it is waited
// for, and unknown if it does not come.
func readEntry(path string) (holder entry, silent time.Duration, err error) {
	for range 20 {
		holder, silent, err = readEntryOnce(path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return holder, silent, err
		}
		time.Sleep(time.Millisecond)
	}
	return entry{}, 0, nil
}

func readEntryOnce(path string) (holder entry, silent time.Duration, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return entry{}, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return entry{}, 0, err
	}
	err = json.NewDecoder(io.LimitReader(file, 64<<10)).Decode(&holder)
	return holder, time.Since(info.ModTime()), err
}
