package push

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"vxorch/remote/hostapi"
)

//go:embed all:helpers
var files embed.FS

// embedded is the bundle that this program carries. It is a constant that takes
// some 10 ms to compute, so once must do for all hosts.
var embedded = sync.OnceValues(func() (*Bundle, error) {
	dir, err := fs.Sub(files, "helpers")
	if err != nil {
		return nil, err
	}
	return NewBundle(dir)
})

// Preload computes what Start needs to know of the embedded helpers, so that it
// can be done while a connection is being made. Start reports its errors.
func Preload() { _, _ = embedded() }

// machines are what a helper can be for, with the names that uname -m has for it.
var machines = []struct {
	arch  string // as Go calls it
	names []string
}{
	{"amd64", []string{"x86_64", "amd64"}},
	{"arm64", []string{"aarch64", "arm64"}},
}

// Bundle is a set of helpers, one an architecture.
type Bundle struct {
	helpers map[string]helper // by architecture
}

// helper is one program.
type helper struct {
	dir  fs.FS
	file string
	hash string // SHA-256, hexadecimal
	size int64
}

// NewBundle makes a bundle of the files vxhelper-linux-ARCH of dir. One
// architecture is enough; the hosts of others are unsupported then.
func NewBundle(dir fs.FS) (*Bundle, error) {
	b := &Bundle{helpers: map[string]helper{}}
	for _, m := range machines {
		h := helper{dir: dir, file: fileOf(m.arch)}
		err := h.digest()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, failure(hostapi.KindHelper, "", "read the embedded helper: %v", err)
		}
		b.helpers[m.arch] = h
	}
	if len(b.helpers) == 0 {
		return nil, errNoHelper
	}
	return b, nil
}

var errNoHelper = failure(hostapi.KindHelper, "build vxorch by scripts/build, which builds the helper first",
	"this vxorch was built without the helper that it starts on the hosts")

// Embedded tells, without reading them, whether this program carries helpers.
func Embedded() error {
	for _, m := range machines {
		if _, err := fs.Stat(files, "helpers/"+fileOf(m.arch)); err == nil {
			return nil
		}
	}
	return errNoHelper
}

// fileOf is the name of an architecture's helper in a bundle.
func fileOf(arch string) string { return "vxhelper-linux-" + arch }

func (h *helper) digest() error {
	f, err := h.dir.Open(h.file)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if h.size, err = io.Copy(sum, f); err != nil {
		return fmt.Errorf("%s: %w", h.file, err)
	}
	h.hash = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// helper gives the one for a machine that uname -m names so.
func (b *Bundle) helper(machine string) (helper, error) {
	for _, m := range machines {
		if h, ok := b.helpers[m.arch]; ok && slices.Contains(m.names, machine) {
			return h, nil
		}
	}
	return helper{}, failure(hostapi.KindUnsupported, "hosts of a lab run Linux on amd64 or arm64", "there is no helper for this host's machine %q", machine)
}
