package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// pattern is size bytes, none of which stands where another could.
func pattern(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16*7)
	}
	return data
}

// writeOld writes a file whose last change is past.
func writeOld(t *testing.T, path string, data []byte, age time.Duration) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-age)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
}

// reads counts how often Resolve told that it reads or fetches something.
func reads(n *int) Progress { return func(int64, int64) { *n++ } }

// check reads a source back.
func check(t *testing.T, s Source, want []byte) {
	t.Helper()
	file, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := make([]byte, s.Size)
	if _, err := file.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if s.SHA256 != sumOf(want) || !bytes.Equal(got, want) {
		t.Errorf("source %+v has other bytes than the image", s)
	}
}

func TestAFileIsReadOnceAsLongAsItIsTheSame(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "not", "there", "yet")}
	path := filepath.Join(t.TempDir(), "a.img")
	image := inventory.Image{Name: "a", File: path}
	resolve := func(want []byte, read bool) {
		t.Helper()
		n := 0
		s, err := c.Resolve(t.Context(), image, reads(&n))
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, want)
		if (n > 0) != read {
			t.Errorf("the file was read: %v, want %v", n > 0, read)
		}
	}
	first, second := pattern(3<<20), pattern(3<<20)
	second[5]++
	writeOld(t, path, first, time.Hour)
	resolve(first, true)
	resolve(first, false)
	writeOld(t, path, second, 30*time.Minute)
	resolve(second, true)
	resolve(second, false)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path + ".old")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, first, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	resolve(first, true) // another file of the same size and time
}

func TestAFileThatHasJustChangedIsReadAgain(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	path := filepath.Join(t.TempDir(), "a.img")
	writeOld(t, path, []byte("first"), 0)
	if _, err := c.Resolve(t.Context(), inventory.Image{File: path}, nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err := c.Resolve(t.Context(), inventory.Image{File: path}, reads(&n)); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Error("a file written a moment ago was taken for the same")
	}
}

func TestAWrongFileIsSaidWithBothSums(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	path := filepath.Join(t.TempDir(), "a.img")
	writeOld(t, path, []byte("image"), 0)
	want := strings.Repeat("0", 64)
	_, err := c.Resolve(t.Context(), inventory.Image{Name: "a", File: path, SHA256: want}, nil)
	e := hostapi.AsError(err)
	if e == nil || e.Kind != hostapi.KindInvalid || e.Hint == "" {
		t.Fatalf("a file with another sum gave %#v, want ErrInvalid with a hint", e)
	}
	for _, part := range []string{`image "a"`, path, sumOf([]byte("image")), want} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("%q does not name %s", e.Message, part)
		}
	}
	if s, err := c.Resolve(t.Context(), inventory.Image{File: path, SHA256: sumOf([]byte("image"))}, nil); err != nil {
		t.Errorf("the right sum gave %+v, %v", s, err)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty")
	writeOld(t, empty, nil, 0)
	for path, want := range map[string]string{
		filepath.Join(folder, "absent"): "there is no file",
		folder:                          "is not a file",
		empty:                           "is empty",
		"/dev/null":                     "is not a file",
	} {
		_, err := Cache{Dir: t.TempDir()}.Resolve(t.Context(), inventory.Image{Name: "a", File: path}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s gave %v, want %q", path, err, want)
		}
	}
}

func TestAFileNeedsNoCache(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.img")
	writeOld(t, path, []byte("image"), time.Hour)
	s, err := Cache{Dir: filepath.Join(path, "no", "folder")}.Resolve(t.Context(), inventory.Image{File: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, s, []byte("image"))
}

func TestTildeIsTheUsersHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	writeOld(t, filepath.Join(home, "a.img"), []byte("x"), 0)
	s, err := Cache{Dir: t.TempDir()}.Resolve(t.Context(), inventory.Image{File: "~/a.img"}, nil)
	if err != nil || s.Path != filepath.Join(home, "a.img") {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestAnImageOnTheHostsNeedsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s, err := Cache{Dir: dir}.Resolve(t.Context(), inventory.Image{Path: "/images/a.img"}, nil)
	if err != nil || s != (Source{}) {
		t.Errorf("got %+v, %v; want nothing", s, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a cache was made for nothing")
	}
}

func TestReadingAFileEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.img")
	writeOld(t, path, pattern(8<<20), 0)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Cache{Dir: t.TempDir()}.Resolve(ctx, inventory.Image{File: path}, func(done, total int64) {
		if done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// left lists the cache's whole images and parts.
func left(t *testing.T, c Cache) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
