package virt

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// image makes a disk image by qemu-img.
func image(t *testing.T, format string, size int64, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base.img")
	args := append([]string{"create", "-q", "-f", format}, options...)
	if out, err := exec.Command("qemu-img", append(args, path, strconv.FormatInt(size, 10))...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	return path
}

func TestOverlayIsWhatQEMUTakesForOne(t *testing.T) {
	for name, c := range map[string]struct {
		format string
		size   int64
	}{
		"qcow2":                        {"qcow2", 16 << 20},
		"raw":                          {"raw", 16 << 20},
		"one sector":                   {"raw", 512},
		"a whole table of level 2":     {"qcow2", 512 << 20},
		"one sector more than that":    {"qcow2", 512<<20 + 512},
		"more than a cluster of level": {"qcow2", 5 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			path := image(t, c.format, c.size)
			base, err := readDisk(path)
			if err != nil || base != (disk{format: c.format, virtual: c.size}) {
				t.Fatalf("readDisk(base) = %+v, %v", base, err)
			}
			data, err := overlay(path, base)
			if err != nil {
				t.Fatal(err)
			}
			over := filepath.Join(t.TempDir(), "overlay.qcow2")
			if err := os.WriteFile(over, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := readDisk(over); err != nil || got != (disk{format: "qcow2", virtual: c.size, backing: path}) {
				t.Errorf("readDisk(overlay) = %+v, %v", got, err)
			}
			if out, err := exec.Command("qemu-img", "check", over).CombinedOutput(); err != nil {
				t.Errorf("qemu-img check: %v\n%s", err, out)
			}
			out, err := exec.Command("qemu-img", "info", "--output=json", over).Output()
			if err != nil {
				t.Fatal(err)
			}
			var info struct {
				Size    int64  `json:"virtual-size"`
				Backing string `json:"full-backing-filename"`
				Format  string `json:"backing-filename-format"`
			}
			if err := json.Unmarshal(out, &info); err != nil {
				t.Fatal(err)
			}
			if info.Size != c.size || info.Backing != path || info.Format != c.format {
				t.Errorf("qemu-img info: %+v", info)
			}
			// What is written to the one is not in the other.
			if out, err := exec.Command("qemu-io", "-c", "write -P 7 0 512", "-c", "read -P 7 0 512", over).CombinedOutput(); err != nil {
				t.Errorf("qemu-io: %v\n%s", err, out)
			}
			if out, err := exec.Command("qemu-img", "check", over).CombinedOutput(); err != nil {
				t.Errorf("qemu-img check after a write: %v\n%s", err, out)
			}
			if out, err := exec.Command("qemu-io", "-f", c.format, "-r", "-c", "read -P 0 0 512", path).CombinedOutput(); err != nil {
				t.Errorf("the base was written to: %v\n%s", err, out)
			}
		})
	}
}

func TestDiskThatIsNoneIsRefused(t *testing.T) {
	for name, base := range map[string]disk{
		"empty": {format: formatRaw}, "negative": {format: formatQcow2, virtual: -1}, "huge": {format: formatQcow2, virtual: maxVirtual + 1},
	} {
		if _, err := overlay("/base", base); err == nil {
			t.Errorf("%s: an overlay was made", name)
		}
	}
	if _, err := readDisk(t.TempDir()); err == nil {
		t.Error("a directory was taken for a disk")
	}
}

func FuzzReadDiskTakesAnything(f *testing.F) {
	data, err := overlay("/base", disk{format: formatRaw, virtual: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:200])
	f.Add([]byte(qcowMagic))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "disk")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := readDisk(path); err == nil && d.format != formatQcow2 && d.format != formatRaw {
			t.Errorf("readDisk = %+v", d)
		}
	})
}
