// Package images is the controller's side of VMs' disk images: it finds the
// bytes of an image that the inventory names, on this machine or on the web,
// checks them, brings them to hosts, and writes the seed disks from which guests
// learn their addresses. What hosts do with an image it leaves to them.
package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/adrg/xdg"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// Cache keeps on the controller what was fetched from the web, each image under
// its SHA-256, and what local files' sums were. Safe for concurrent use, also by
// several processes.
type Cache struct {
	Dir    string       // made when it is needed
	Client *http.Client // nil: one with time-outs, and the environment's proxy

	pause time.Duration // before a fetch goes on after it broke off; 0: 1 s
	stall time.Duration // without a byte, after which it has broken off; 0: 30 s
}

// DefaultDir is in the user's directory for caches, $XDG_CACHE_HOME.
func DefaultDir() string { return filepath.Join(xdg.CacheHome, "vxorch", "images") }

// Source is an image whose bytes are on this machine, all of them and checked.
// That of an image which only hosts have is the zero Source.
type Source struct {
	SHA256 string // lower-case hex
	Size   int64  // bytes
	Path   string
}

// File is an open image.
type File interface {
	io.ReaderAt
	io.Closer
}

// Open opens the image for reading.
func (s Source) Open() (File, error) { return os.Open(s.Path) }

// Progress is told how far reading or fetching an image has come: bytes done, and
// of how many; -1: nobody knows.
type Progress func(done, total int64)

// Resolve finds an image: a file is read to know its sum, unless that is known
// since the last time; a URL is fetched once, going on where an earlier fetch
// broke off; one that is on the hosts needs nothing. An image with another
// SHA-256 than the inventory says is an error. progress may be nil.
func (c Cache) Resolve(ctx context.Context, image inventory.Image, progress Progress) (Source, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	var source Source
	var err error
	switch {
	case image.File != "":
		source, err = c.file(ctx, image, progress)
	case image.URL != "":
		source, err = c.web(ctx, image, progress)
	}
	if err != nil {
		return Source{}, fmt.Errorf("image %q: %w", image.Name, err)
	}
	return source, nil
}

func (c Cache) file(ctx context.Context, image inventory.Image, progress Progress) (Source, error) {
	path := image.File
	if rest, found := strings.CutPrefix(path, "~/"); found {
		home, err := os.UserHomeDir()
		if err != nil {
			return Source{}, err
		}
		path = filepath.Join(home, rest)
	}
	source, err := c.sum(ctx, path, progress)
	if errors.Is(err, fs.ErrNotExist) {
		return Source{}, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("there is no file %s", path),
			Hint: "put it there, or name another; a relative path counts from the inventory's folder"}
	}
	if err != nil {
		return Source{}, err
	}
	if image.SHA256 != "" && source.SHA256 != image.SHA256 {
		return Source{}, wrongSum(path, source.SHA256, image.SHA256)
	}
	return source, nil
}

func wrongSum(where, is, want string) error {
	return &hostapi.Error{Kind: hostapi.KindInvalid,
		Message: fmt.Sprintf("the SHA-256 of %s is %s, not %s as the inventory says", where, is, want),
		Hint:    "if the image is the right one, write its sum into the inventory, else get it again"}
}

// writeJSON replaces a small file of the cache as a whole.
func (c Cache) writeJSON(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(c.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // gone already where all went well
	_, err = temporary.Write(text)
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), filepath.Join(c.Dir, name))
}

// readJSON gives false where the file is not there or of no use: all that the
// cache knows can be found out again.
func (c Cache) readJSON(name string, value any) bool {
	text, err := os.ReadFile(filepath.Join(c.Dir, name))
	return err == nil && json.Unmarshal(text, value) == nil
}
