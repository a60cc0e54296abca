package virt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

const maxChunk = 4 << 20 // bytes, as hostapi says

// PutImage is hostapi.ImageStore's; that the lab is locked is the caller's
// business. Several sessions may bring one image at once. A whole one is held: see
// Hold.
func (h *Host) PutImage(ctx context.Context, chunk hostapi.ImageChunk) (have int64, err error) {
	if err := checkChunk(chunk); err != nil {
		return 0, err
	}
	if have, err = h.store.put(ctx, chunk); err != nil || have < chunk.Size {
		return have, err
	}
	if err := h.holds.take(h.store.base(chunk.SHA256)); err != nil {
		return 0, fmt.Errorf("hold image %s: %w", chunk.SHA256, err)
	}
	if whole, err := h.store.isWhole(chunk); !whole || err != nil {
		return 0, err // cleaned away before it was held
	}
	return have, nil
}

func (s store) put(ctx context.Context, chunk hostapi.ImageChunk) (have int64, err error) {
	if whole, err := s.isWhole(chunk); whole || err != nil {
		return chunk.Size, err
	}
	part, err := s.lockPart(ctx, chunk)
	if err != nil {
		return 0, err
	}
	if part == nil {
		if whole, err := s.isWhole(chunk); whole || err != nil {
			return chunk.Size, err
		}
		return 0, nil
	}
	defer part.Close()
	have, err = s.write(part, chunk)
	if err == nil && have == chunk.Size {
		err = s.finish(ctx, part, chunk)
	}
	if err != nil {
		return 0, fmt.Errorf("store image %s: %w", chunk.SHA256, err)
	}
	return have, nil
}

func checkChunk(c hostapi.ImageChunk) error {
	sum, err := hex.DecodeString(c.SHA256)
	switch {
	case err != nil || len(sum) != sha256.Size || c.SHA256 != strings.ToLower(c.SHA256):
		return invalid("%q is not a SHA-256 sum", c.SHA256)
	case c.Size < 1:
		return invalid("an image of %d bytes", c.Size)
	case len(c.Data) > maxChunk:
		return invalid("a chunk of %d bytes is more than %d", len(c.Data), maxChunk)
	case c.Offset < 0 || c.Offset > c.Size-int64(len(c.Data)):
		return invalid("a chunk of %d bytes at %d in an image of %d", len(c.Data), c.Offset, c.Size)
	}
	return nil
}

// isWhole says whether the image is here, whole.
func (s store) isWhole(c hostapi.ImageChunk) (bool, error) {
	info, err := os.Stat(s.base(c.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && info.Size() != c.Size {
		err = invalid("image %s has %d bytes, not %d", c.SHA256, info.Size(), c.Size)
	}
	return err == nil, err
}

// lockPart opens the file of an image on its way for this call alone. nil: there
// is none, and nothing to write into one, or the image is whole by now.
func (s store) lockPart(ctx context.Context, c hostapi.ImageChunk) (*os.File, error) {
	path, flags := s.part(c.SHA256), os.O_RDWR|unix.O_NOFOLLOW
	if len(c.Data) > 0 {
		flags |= os.O_CREATE
	}
	for {
		if len(c.Data) > 0 {
			if err := s.mkdir(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		file, err := os.OpenFile(path, flags, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			if len(c.Data) == 0 {
				return nil, nil
			}
			continue // the store was taken away by a lab that ended
		}
		if err != nil {
			return nil, full(s.dir, c.Size, err)
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(file, path) {
			if !exists(s.base(c.SHA256)) {
				return file, nil
			}
			// Another has finished it since, and this file was made after that.
			defer file.Close()
			return nil, os.Remove(path)
		}
		_ = file.Close()
		if err == nil { // it was finished, or thrown away, meanwhile
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, canceled(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isAt reports whether file is the one that path names.
func isAt(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, named)
}

// write adds what is new in c and gives how many bytes there are then.
func (s store) write(part *os.File, c hostapi.ImageChunk) (have int64, err error) {
	info, err := part.Stat()
	if err != nil {
		return 0, err
	}
	have = info.Size()
	switch end := c.Offset + int64(len(c.Data)); {
	case have > c.Size:
		return 0, invalid("%d bytes are here already, of an image of %d", have, c.Size)
	case c.Offset > have:
		return 0, invalid("a chunk at %d, but %d bytes are here", c.Offset, have)
	case end <= have:
		return have, nil
	default:
		left, err := free(s.dir)
		if err != nil {
			return 0, err
		}
		if left < c.Size-have {
			s.dropEmpty(part, have)
			return 0, noRoom(s.dir, c.Size-have, left)
		}
		if _, err := part.WriteAt(c.Data[have-c.Offset:], have); err != nil {
			return 0, full(s.dir, c.Size-have, err)
		}
		return end, nil
	}
}

// dropEmpty takes away what this call has only just made.
func (s store) dropEmpty(part *os.File, have int64) {
	if have == 0 {
		_ = os.Remove(part.Name())
		_ = os.Remove(s.dir) // if it is empty
	}
}

// finish checks the whole image and makes it one that can be used. One with
// another sum is thrown away.
func (s store) finish(ctx context.Context, part *os.File, c hostapi.ImageChunk) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, io.NewSectionReader(part, 0, c.Size)}); err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != c.SHA256 {
		err := os.Remove(part.Name())
		return errors.Join(&hostapi.Error{
			Kind: hostapi.KindInvalid, Message: fmt.Sprintf("its SHA-256 sum is %s, not %s; it was thrown away", sum, c.SHA256),
			Hint: "look whether the image is the one that the inventory names, then run the same again",
		}, err)
	}
	// The name is given last: under it nothing else is ever found.
	if err := part.Chmod(0o444); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return full(s.dir, c.Size, err)
	}
	if err := os.Rename(part.Name(), s.base(c.SHA256)); err != nil {
		return err
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// reader reads until ctx ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, canceled(r.ctx)
	}
	return r.Reader.Read(p)
}

// imageFacts says what is here of an image. One that cannot be looked at is not
// here.
func (s store) imageFacts(i hostapi.Image) hostapi.ImageFacts {
	facts := hostapi.ImageFacts{Image: i}
	if path, _, err := s.image(i); err == nil {
		if info, err := os.Stat(path); err == nil {
			facts.Have, facts.Whole = info.Size(), true
		}
	} else if i.Path == "" && checkName(i.SHA256) == nil {
		if info, err := os.Stat(s.part(i.SHA256)); err == nil {
			facts.Have = info.Size()
		}
	}
	return facts
}

// image gives the file of a base image and what it is.
func (s store) image(i hostapi.Image) (path string, base disk, err error) {
	switch {
	case (i.Path == "") == (i.SHA256 == ""):
		return "", disk{}, invalid("a disk begins as one image")
	case i.SHA256 != "":
		if err := checkName(i.SHA256); err != nil {
			return "", disk{}, err
		}
		path = s.base(i.SHA256)
	case !filepath.IsAbs(i.Path):
		return "", disk{}, invalid("%s is not an absolute path", i.Path)
	default:
		path = filepath.Clean(i.Path)
	}
	base, err = readDisk(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", disk{}, &hostapi.Error{
			Kind: hostapi.KindInvalid, Message: fmt.Sprintf("image %v is not on this host", i),
			Hint: "deploy brings images given by `file` or `url`; one given by `path` has to be there",
		}
	}
	if err != nil {
		return "", disk{}, fmt.Errorf("read image %v: %w", i, err)
	}
	// Which file of this host it would be only the image's maker knows.
	if i.SHA256 != "" && base.outside {
		return "", disk{}, invalid("image %v has its data in another file: convert it first (qemu-img convert)", i)
	}
	if i.SHA256 != "" && base.backing != "" {
		return "", disk{}, invalid("image %v stands on another image, %q: flatten it first (qemu-img convert)", i, base.backing)
	}
	return path, base, nil
}

// checkSum refuses an image given by its path that has another SHA-256 than want.
func checkSum(ctx context.Context, path, want string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, file}); err != nil {
		return fmt.Errorf("read image %s: %w", path, err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != want {
		return &hostapi.Error{
			Kind: hostapi.KindInvalid, Message: fmt.Sprintf("the SHA-256 of %s is %s, not %s as the inventory says", path, sum, want),
			Hint: "if the image is the right one, write its sum into the inventory, else bring it there again",
		}
	}
	return nil
}

// Clean removes base images that no lab's disk stands on and no other session
// holds, and uploads that were given up, and tells their paths. While somebody is
// at work no upload is taken for one of these.
func (h *Host) Clean(ctx context.Context, atWork bool) (removed []string, err error) {
	h.LetGo() // what this session brought it does not need any more
	s := h.store
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("clean the image store: %w", err)
	}
	var used, candidates []string
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		switch ext := filepath.Ext(path); {
		case e.IsDir():
			disks, err := filepath.Glob(filepath.Join(escapeGlob(path), "*.qcow2"))
			if err != nil {
				return nil, err
			}
			for _, d := range disks {
				over, err := readDisk(d)
				if err != nil {
					return nil, fmt.Errorf("clean the image store: %w", err)
				}
				used = append(used, over.backing)
			}
		case ext == ".img", ext == ".part" && !atWork:
			candidates = append(candidates, path)
		}
	}
	for _, path := range candidates {
		if slices.Contains(used, path) {
			continue
		}
		if ctx.Err() != nil {
			return removed, canceled(ctx)
		}
		gone, err := removeIdle(path)
		if err != nil {
			return removed, fmt.Errorf("clean the image store: %w", err)
		}
		if gone {
			removed = append(removed, path)
		}
	}
	_ = os.Remove(s.dir) // if it is empty
	return removed, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// removeIdle removes a file unless somebody is writing to it.
func removeIdle(path string) (gone bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, nil
	}
	return true, os.Remove(path)
}
