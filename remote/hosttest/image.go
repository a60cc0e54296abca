package hosttest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vxorch/remote/hostapi"
)

const maxChunk = 4 << 20 // bytes, as hostapi says

// image is one of the store, whole or on its way.
type image struct {
	data  []byte
	size  int64
	whole bool
	held  map[*Session]bool // by sessions that have seen or brought it
}

// hold keeps the whole ones of images from other sessions' Clean until s ends.
func (v *virt) hold(s *Session, images []hostapi.Image) {
	for _, i := range images {
		if stored := v.images[i.SHA256]; stored != nil && stored.whole {
			stored.held[s] = true
		}
	}
}

// PlantImage puts a file that VMs can begin as on the machine.
func (m *Machine) PlantImage(path string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.files[path] = true
}

// Images lists the SHA-256 of every whole image of the store.
func (m *Machine) Images() []string {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	return slices.Sorted(func(yield func(string) bool) {
		for sum, i := range m.virt.images {
			if i.whole && !yield(sum) {
				return
			}
		}
	})
}

// RemoveImages empties the store behind the labs' backs.
func (m *Machine) RemoveImages() {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	clear(m.virt.images)
}

func (v *virt) put(c hostapi.ImageChunk) (have int64, err error) {
	sum, err := hex.DecodeString(c.SHA256)
	end := c.Offset + int64(len(c.Data))
	switch {
	case v.unusable != nil:
		return 0, v.unusable
	case err != nil || len(sum) != sha256.Size || c.SHA256 != strings.ToLower(c.SHA256):
		return 0, invalid("%q is no SHA-256", c.SHA256)
	case c.Size < 1 || c.Offset < 0 || end > c.Size || len(c.Data) > maxChunk:
		return 0, invalid("%d bytes at %d of %d", len(c.Data), c.Offset, c.Size)
	}
	i := v.images[c.SHA256]
	if i == nil {
		i = &image{size: c.Size, held: map[*Session]bool{}}
	}
	have = int64(len(i.data))
	switch {
	case i.size != c.Size:
		return 0, invalid("image %s has %d bytes, not %d", c.SHA256, i.size, c.Size)
	case c.Offset > have:
		return 0, invalid("image %s: a chunk at %d, but %d bytes are here", c.SHA256, c.Offset, have)
	case end <= have:
		return have, nil
	case v.left() < end-have:
		return 0, &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("write image %s: no space left on device", c.SHA256)}
	}
	i.data = append(i.data, c.Data[have-c.Offset:]...)
	v.images[c.SHA256] = i
	if end < i.size {
		return end, nil
	}
	if got := sha256.Sum256(i.data); [sha256.Size]byte(sum) != got {
		delete(v.images, c.SHA256)
		return 0, invalid("the image's SHA-256 is %x, not %s", got, c.SHA256)
	}
	i.whole = true
	return end, nil
}

// left is the bytes that are free.
func (v *virt) left() int64 {
	left := v.free
	for i := range maps.Values(v.images) {
		left -= int64(len(i.data))
	}
	return left
}

// image is what is known of i.
func (v *virt) image(i hostapi.Image) hostapi.ImageFacts {
	out := hostapi.ImageFacts{Image: i}
	if i.Path != "" {
		out.Whole = v.files[i.Path]
	} else if stored := v.images[i.SHA256]; stored != nil {
		out.Have, out.Whole = int64(len(stored.data)), stored.whole
	}
	return out
}
