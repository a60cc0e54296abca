package virt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// newHost is one with a store in a directory of its own and no libvirt.
func newHost(t *testing.T) *Host {
	t.Helper()
	dir := t.TempDir()
	return &Host{sockets: []string{dir + "/no-sock"}, store: store{dir + "/vxorch"}, vcpu: func() bool { return false }}
}

func noise(size int) ([]byte, string) {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(data)
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

// put brings an image in chunks of that many bytes.
func (h *Host) put(ctx context.Context, data []byte, sum string, chunk int) error {
	c := hostapi.ImageChunk{Lab: "lu", SHA256: sum, Size: int64(len(data))}
	for {
		have, err := h.PutImage(ctx, c)
		if err != nil || have == c.Size {
			return err
		}
		c.Offset, c.Data = have, data[have:min(have+int64(chunk), c.Size)]
	}
}

func TestImagesThatSeveralBringAtOnceAreWhole(t *testing.T) {
	h := newHost(t)
	data, sum := noise(300_000)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			c := hostapi.ImageChunk{Lab: "lu", SHA256: sum, Size: int64(len(data))}
			for c.Offset < c.Size {
				c.Data = data[c.Offset:min(c.Offset+int64(7_000+n*1_000), c.Size)]
				have, err := h.PutImage(t.Context(), c)
				if err != nil {
					t.Error(err)
					return
				}
				c.Offset = have
			}
		})
	}
	group.Wait()
	got, err := os.ReadFile(h.store.base(sum))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the image: %v, the same: %t", err, bytes.Equal(got, data))
	}
	if info, err := os.Stat(h.store.base(sum)); err != nil || info.Mode() != 0o444 {
		t.Errorf("the image: %v, %v; want mode 0444", info.Mode(), err)
	}
	if _, err := os.Lstat(h.store.part(sum)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the upload is still there: %v", err)
	}
}

func TestImageWithAnotherSumIsThrownAwayAndBothAreNamed(t *testing.T) {
	h := newHost(t)
	data, sum := noise(1000)
	_, other := noise(1001)
	err := h.put(t.Context(), data, other, 1000)
	if !errors.Is(err, hostapi.ErrInvalid) || !strings.Contains(err.Error(), sum) || !strings.Contains(err.Error(), other) {
		t.Errorf("error %v, want ErrInvalid with %s and %s", err, sum, other)
	}
	if entries, err := os.ReadDir(h.store.dir); err != nil || len(entries) != 0 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
}

func TestUploadGoesOnWhereItEnded(t *testing.T) {
	h := newHost(t)
	data, sum := noise(10_000)
	// A machine that lost power keeps the beginning; the last write was not renamed.
	for _, have := range []int{1, 9_999, 10_000} {
		if err := errors.Join(os.MkdirAll(h.store.dir, 0o711), os.WriteFile(h.store.part(sum), data[:have], 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := h.put(t.Context(), data, sum, 4096); err != nil {
			t.Errorf("from %d bytes: %v", have, err)
		}
		if err := os.Remove(h.store.base(sum)); err != nil {
			t.Error(err)
		}
	}
}

func TestDiskTooFullIsToldBeforeAnythingIsWritten(t *testing.T) {
	h := newHost(t)
	disks := filepath.Dir(h.store.dir)
	if err := unix.Mount("tmpfs", disks, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disks, 0); err != nil {
			t.Error(err)
		}
	})
	data, sum := noise(1 << 20)
	err := h.put(t.Context(), data, sum, 4096)
	e := new(hostapi.Error)
	if !errors.As(err, &e) || e.Kind != hostapi.KindBusy || e.Hint == "" || !strings.Contains(err.Error(), "1048576 bytes more, 262144 are free") {
		t.Errorf("error %v, want one of KindBusy with the bytes needed and free, and a hint", err)
	}
	if entries, err := os.ReadDir(disks); err != nil || len(entries) != 0 {
		t.Errorf("%s holds %v, %v", disks, entries, err)
	}

	// A disk of a domain is no better off.
	path := image(t, "raw", 1<<20)
	if err := os.WriteFile(filepath.Join(disks, "ballast"), make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	err = h.store.makeDisks(hostapi.Mark{Lab: "lu"}, hostapi.Domain{Name: "vm1"}, path, disk{format: formatRaw, virtual: 1 << 20, backing: ""})
	if !errors.Is(err, hostapi.ErrBusy) {
		t.Errorf("makeDisks: %v, want ErrBusy", err)
	}
	if _, err := h.store.removeFiles("lu", "vm1"); err != nil {
		t.Error(err)
	}
}

func TestImageOnAnotherImageIsRefused(t *testing.T) {
	h := newHost(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(image(t, "qcow2", 1<<20, "-b", secret, "-F", "raw"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	if err := h.put(t.Context(), data, name, maxChunk); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.store.image(hostapi.Image{SHA256: name}); !errors.Is(err, hostapi.ErrInvalid) || !strings.Contains(err.Error(), secret) {
		t.Errorf("image: %v, want ErrInvalid that names %s", err, secret)
	}
}

func TestImageWithItsDataInAnotherFileIsRefused(t *testing.T) {
	h := newHost(t)
	secret := filepath.Join(t.TempDir(), "secret")
	data, err := os.ReadFile(image(t, "qcow2", 1<<20, "-o", "data_file="+secret))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	if err := h.put(t.Context(), data, name, maxChunk); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.store.image(hostapi.Image{SHA256: name}); !errors.Is(err, hostapi.ErrInvalid) || !strings.Contains(err.Error(), "another file") {
		t.Errorf("image: %v, want ErrInvalid", err)
	}
}

func TestCleanSparesWhatIsBeingWritten(t *testing.T) {
	h := newHost(t)
	data, sum := noise(1000)
	c := hostapi.ImageChunk{Lab: "lu", SHA256: sum, Size: 1000, Data: data[:10]}
	if _, err := h.PutImage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	part, err := h.store.lockPart(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := h.Clean(t.Context(), false); err != nil || len(removed) != 0 {
		t.Errorf("Clean removed %v, %v", removed, err)
	}
	if err := part.Close(); err != nil {
		t.Fatal(err)
	}
	if removed, err := h.Clean(t.Context(), false); err != nil || len(removed) != 1 || removed[0] != h.store.part(sum) {
		t.Errorf("Clean removed %v, %v; want the upload that was given up", removed, err)
	}
	if _, err := os.Lstat(h.store.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty store is still there: %v", err)
	}
}

func TestLabsDirectoryOfAnotherIsLeftAlone(t *testing.T) {
	h := newHost(t)
	dir := h.store.lab("lu")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/vm1.qcow2", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := h.store.mkdirLab(hostapi.Mark{Lab: "lu"}); !errors.Is(err, hostapi.ErrForeign) {
		t.Errorf("mkdirLab: %v, want ErrForeign", err)
	}
	if _, err := h.store.removeFiles("lu", "vm1"); !errors.Is(err, hostapi.ErrForeign) {
		t.Errorf("removeFiles: %v, want ErrForeign", err)
	}
	if err := h.Tidy("lu"); err != nil {
		t.Errorf("Tidy: %v", err)
	}
	if _, err := os.Stat(dir + "/vm1.qcow2"); err != nil {
		t.Error(err)
	}
}

func TestOnlyADomainsOwnFilesGoWithIt(t *testing.T) {
	h := newHost(t)
	if err := h.store.mkdirLab(hostapi.Mark{Lab: "lu"}); err != nil {
		t.Fatal(err)
	}
	gone := []string{"vm.qcow2", "vm-seed.iso", "vm.console.log", "vm.console.log.0", "vm.console.log.12"}
	left := []string{"mark", "vm-2.qcow2", "vm.2.qcow2", "vm.console.log.x.qcow2", "vm-seed.qcow2"}
	for _, name := range append(gone, left...) {
		file, err := os.OpenFile(filepath.Join(h.store.lab("lu"), name), os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if changed, err := h.store.removeFiles("lu", "vm"); err != nil || !changed {
		t.Errorf("removeFiles = %t, %v", changed, err)
	}
	entries, err := os.ReadDir(h.store.lab("lu"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(left)
	if diff := cmp.Diff(left, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTidyRemovesWhatARunThatDiedHadBegun(t *testing.T) {
	for name, files := range map[string][]string{"nothing": nil, "an empty mark": {markFile}} {
		h := newHost(t)
		if err := os.MkdirAll(h.store.lab("lu"), 0o711); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(h.store.lab("lu"), f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Tidy("lu"); err != nil {
			t.Errorf("%s: Tidy: %v", name, err)
		}
		if _, err := os.Lstat(h.store.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the store is still there: %v", name, err)
		}
	}
}
