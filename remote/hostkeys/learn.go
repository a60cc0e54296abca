package hostkeys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// Learn writes key as the one of name (host:port), which nothing was known of,
// into the first of files. Another may be learning at the same time, so it looks
// again under the lock. As with ssh, a file that cannot be written is no reason
// to stay away from the host: that is said in the log.
func (r *Reader) Learn(files []string, name string, key ssh.PublicKey) error {
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	file := files[0]
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target // the link stays one
	}
	// /dev/null is a usual way to say that nothing is to be kept; a rename would
	// put a file in its place.
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		log.Debug("ssh: a new host's key is not kept", "host", name, "key", Describe(key), "file", file)
		return nil
	}
	err := underLock(filepath.Dir(file), func() error {
		known, err := (&Reader{}).Read(files) // whose warnings have been given
		if err != nil {
			return err
		}
		if err := known.Check(name, key); !errors.Is(err, ErrUnknown) {
			return err
		}
		return appendLine(file, knownhosts.Line([]string{name}, key))
	})
	var known *hostapi.Error
	switch {
	case errors.As(err, &known):
		return known
	case err != nil:
		log.Warn("ssh: a new host's key could not be kept; the next run takes any key again", "host", name, "key", Describe(key), "error", err)
		return nil
	}
	log.Info("ssh: learned a new host's key", "host", name, "key", Describe(key), "file", file)
	return nil
}

// underLock runs f while no other vxorch changes files in dir, which is made if
// there is none. The directory itself is locked: a lock on the file would end
// with the rename, and a file just for the lock would stay behind.
func underLock(dir string, f func() error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // which unlocks
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if err == nil {
			return f()
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}

// appendLine adds line to file by a rename, so that a reader sees either all of
// it or nothing.
func appendLine(file, line string) (err error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".known_hosts-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(append(text, line+"\n"...))
	if err = errors.Join(err, temp.Chmod(mode), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}
