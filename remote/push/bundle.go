package push

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/binary"
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

// embedded is the bundle that this program carries.
var embedded = sync.OnceValues(func() (*Bundle, error) {
	dir, err := fs.Sub(files, "helpers")
	if err != nil {
		return nil, err
	}
	return NewBundle(dir)
})

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
	dir    fs.FS
	file   string
	packed int64  // bytes of the file if it is one of Pack's, else 0
	hash   string // of the program, SHA-256, hexadecimal
	size   int64  // of the program
	// packedHash is that of the file if it is one of Pack's. It is taken once, for
	// the first host that needs the helper.
	packedHash func() (string, error)
}

// NewBundle makes a bundle of the files vxhelper-linux-ARCH.gz of dir, as Pack
// makes them, or vxhelper-linux-ARCH, the bare programs. One architecture is
// enough; the hosts of others are unsupported then.
func NewBundle(dir fs.FS) (*Bundle, error) {
	b := &Bundle{helpers: map[string]helper{}}
	for _, m := range machines {
		h := helper{dir: dir, file: fileOf(m.arch) + ".gz"}
		err := h.readHeader()
		if errors.Is(err, fs.ErrNotExist) {
			h = helper{dir: dir, file: fileOf(m.arch)}
			h.hash, h.size, err = digest(dir, h.file)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, hostapi.Errorf(hostapi.KindHelper, "", "read the embedded helper: %v", err)
		}
		b.helpers[m.arch] = h
	}
	if len(b.helpers) == 0 {
		return nil, errNoHelper
	}
	return b, nil
}

var errNoHelper = hostapi.Errorf(hostapi.KindHelper, "build vxorch by scripts/build, which builds the helper first",
	"this vxorch was built without the helper that it starts on the hosts")

// Embedded tells whether this program carries helpers.
func Embedded() error {
	_, err := embedded()
	return err
}

// fileOf is the name of an architecture's helper in a bundle.
func fileOf(arch string) string { return "vxhelper-linux-" + arch }

// Pack compresses a helper for a bundle. What a start needs to know of it, its
// hash and size, goes into the header: to compute that takes longer than all
// else that the controller does for a warm start.
func Pack(w io.Writer, program []byte) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(program)
	z.Comment = hex.EncodeToString(sum[:])
	z.Extra = binary.BigEndian.AppendUint64([]byte{'v', 'x', 8, 0}, uint64(len(program))) // a subfield: RFC 1952 §2.3.1.1
	if _, err := z.Write(program); err != nil {
		return err
	}
	return z.Close()
}

// readHeader reads what Pack noted.
func (h *helper) readHeader() error {
	f, err := h.dir.Open(h.file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", h.file, err)
	}
	size, found := bytes.CutPrefix(z.Extra, []byte{'v', 'x', 8, 0})
	if !found || len(size) != 8 || len(z.Comment) != 2*sha256.Size {
		return fmt.Errorf("%s: not packed by scripts/build", h.file)
	}
	h.packed, h.hash, h.size = info.Size(), z.Comment, int64(binary.BigEndian.Uint64(size))
	dir, file := h.dir, h.file
	h.packedHash = sync.OnceValues(func() (string, error) {
		hash, _, err := digest(dir, file)
		return hash, err
	})
	return nil
}

// digest reads a file for its SHA-256, hexadecimal, and size.
func digest(dir fs.FS, file string) (hash string, size int64, err error) {
	f, err := dir.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return "", 0, fmt.Errorf("%s: %w", file, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), size, nil
}

// sum is the hash of what open gives.
func (h helper) sum(packed bool) (string, error) {
	if packed {
		return h.packedHash()
	}
	return h.hash, nil
}

// open gives the program to be sent, compressed if packed. That can only be had
// of a helper that is.
func (h helper) open(packed bool) (io.ReadCloser, error) {
	f, err := h.dir.Open(h.file)
	if err != nil || packed == (h.packed > 0) {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// byHash gives the helper that a host asks for.
func (b *Bundle) byHash(hash string) (helper, bool) {
	for _, h := range b.helpers {
		if h.hash == hash {
			return h, true
		}
	}
	return helper{}, false
}

// unsupported is the error for a host that has no helper in any bundle, or not
// in this one.
func unsupported(kernel, machine string) *hostapi.Error {
	hint := "hosts of a lab run Linux on amd64 or arm64"
	switch {
	case machine == "armv8l":
		hint += "; this one shows a 32-bit system on a 64-bit processor"
	case kernel == "Linux" && slices.ContainsFunc(machines, func(m struct {
		arch  string
		names []string
	}) bool {
		return slices.Contains(m.names, machine)
	}):
		hint = "this vxorch was built without it: build it by scripts/build"
	}
	return hostapi.Errorf(hostapi.KindUnsupported, hint, "there is no helper for this host's machine: %q on %q", kernel, machine)
}
