package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// settled is how old a file's last change must be for its sum to be remembered:
// a change right after it could leave the same time and size behind.
const settled = 3 * time.Second

// known is a file's sum, and what tells that the file is still the same.
type known struct {
	Path   string    `json:"path"`
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"` // of its last change
	Inode  uint64    `json:"inode"`
	SHA256 string    `json:"sha256"`
}

func describe(path string, info os.FileInfo) known {
	k := known{Path: path, Size: info.Size(), Time: info.ModTime().UTC()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		k.Inode = uint64(stat.Ino)
	}
	return k
}

// sum gives a file's SHA-256, which it reads the file for only if it has changed
// since the last time.
func (c Cache) sum(ctx context.Context, path string, progress Progress) (Source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Source{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return Source{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return Source{}, err
	case !info.Mode().IsRegular():
		return Source{}, fmt.Errorf("%s is not a file", path)
	case info.Size() == 0:
		return Source{}, fmt.Errorf("%s is empty", path)
	}
	is := describe(path, info)
	name := sumName(path)
	var before known
	if c.readJSON(name, &before) && len(before.SHA256) == hex.EncodedLen(sha256.Size) {
		is.SHA256 = before.SHA256
		if before == is {
			now := time.Now()
			_ = os.Chtimes(filepath.Join(c.Dir, name), now, now) // for Prune, which at worst has it fetched again
			return Source{SHA256: is.SHA256, Size: is.Size, Path: path}, nil
		}
	}
	if is.SHA256, err = hash(ctx, file, is.Size, progress); err != nil {
		return Source{}, fmt.Errorf("read %s: %w", path, err)
	}
	after, err := os.Stat(path)
	if err != nil {
		return Source{}, err
	}
	now := describe(path, after)
	if now.SHA256 = is.SHA256; now != is {
		return Source{}, fmt.Errorf("%s changed while it was read", path)
	}
	if time.Since(is.Time) > settled {
		_ = c.writeJSON(name, is) // else it is read again the next time
	}
	return Source{SHA256: is.SHA256, Size: is.Size, Path: path}, nil
}

// sumName is the cache's file about the sum of the file at that absolute path.
func sumName(path string) string { return "sum-" + digest(path) + ".json" }

// hash gives the SHA-256 of a file of that size.
func hash(ctx context.Context, file io.Reader, size int64, progress Progress) (string, error) {
	sum := sha256.New()
	buffer := make([]byte, 1<<20)
	for done := int64(0); ; {
		progress(done, size)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := file.Read(buffer)
		sum.Write(buffer[:n])
		done += int64(n)
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// digest makes a file name of any text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
