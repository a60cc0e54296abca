package virt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"vxorch/remote/hostapi"
)

// The qcow2 format, as docs/interop/qcow2.txt of QEMU has it. An overlay with
// nothing in it yet is a header and three empty tables: written here, it needs
// neither qemu-img nor a libvirt storage pool on the host.

const (
	qcowMagic       = "QFI\xfb"
	clusterSize     = 1 << 16
	backingFormat   = 0xe2792aca     // type of the header extension that names it
	perL1Entry      = 512 << 20      // bytes of disk: a cluster of L2 entries, 8 bytes each
	maxVirtual      = int64(1) << 46 // bytes; its L1 table is 1 MiB
	maxBackingName  = 1023
	formatQcow2     = "qcow2"
	formatRaw       = "raw"
	sector          = 512
	clustersInFront = 3 // header, refcount table, refcount block
)

// qcowHeader is version 3's, without its optional end.
type qcowHeader struct {
	Magic                 [4]byte
	Version               uint32
	BackingOffset         uint64
	BackingSize           uint32
	ClusterBits           uint32
	Size                  uint64
	Crypt                 uint32
	L1Size                uint32
	L1Offset              uint64
	RefcountTableOffset   uint64
	RefcountTableClusters uint32
	Snapshots             uint32
	SnapshotsOffset       uint64
	Incompatible          uint64
	Compatible            uint64
	Autoclear             uint64
	RefcountOrder         uint32
	HeaderLength          uint32
}

// disk is what a disk image's file says of itself.
type disk struct {
	format  string
	virtual int64  // bytes that the guest sees
	backing string // path; empty: none
	outside bool   // its data is in another file
}

// externalData is the incompatible feature of an image whose data is in another
// file, named in the image (docs/interop/qcow2.txt).
const externalData = 1 << 2

// readDisk looks at a disk image. Anything that is not qcow2 is raw.
func readDisk(path string) (disk, error) {
	file, err := os.Open(path)
	if err != nil {
		return disk{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return disk{}, err
	}
	if !info.Mode().IsRegular() {
		return disk{}, invalid("%s is not a file", path)
	}
	var h qcowHeader
	err = binary.Read(file, binary.BigEndian, &h)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return disk{}, err
	}
	if err != nil || string(h.Magic[:]) != qcowMagic {
		return disk{format: formatRaw, virtual: (info.Size() + sector - 1) / sector * sector}, nil
	}
	d := disk{format: formatQcow2, virtual: int64(h.Size), outside: h.Version >= 3 && h.Incompatible&externalData != 0}
	if h.BackingOffset != 0 {
		if h.BackingSize > maxBackingName {
			return disk{}, invalid("%s is a damaged qcow2 image: its backing file's name has %d bytes", path, h.BackingSize)
		}
		name := make([]byte, h.BackingSize)
		if _, err := file.ReadAt(name, int64(h.BackingOffset)); err != nil {
			return disk{}, fmt.Errorf("read %s: %w", path, err)
		}
		d.backing = string(name)
	}
	return d, nil
}

// overlay is an empty qcow2 image on top of base, of which the disk is as large.
// The format of the base is in it: QEMU would have to guess else, and guesses
// what a guest can write are raw.
func overlay(path string, base disk) ([]byte, error) {
	if base.virtual <= 0 || base.virtual > maxVirtual {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%s has a virtual size of %d bytes", path, base.virtual)}
	}
	if len(path) > maxBackingName {
		return nil, invalid("the path of the image is too long: %s", path)
	}
	entries := (base.virtual + perL1Entry - 1) / perL1Entry
	clusters := clustersInFront + int((entries*8+clusterSize-1)/clusterSize)

	h := qcowHeader{
		Version: 3, BackingSize: uint32(len(path)), ClusterBits: 16, Size: uint64(base.virtual),
		L1Size: uint32(entries), L1Offset: clustersInFront * clusterSize,
		RefcountTableOffset: clusterSize, RefcountTableClusters: 1, RefcountOrder: 4,
	}
	copy(h.Magic[:], qcowMagic)
	h.HeaderLength = uint32(binary.Size(h))
	format := make([]byte, 8) // padded
	copy(format, base.format)
	extensions := binary.BigEndian.AppendUint32(nil, backingFormat)
	extensions = binary.BigEndian.AppendUint32(extensions, uint32(len(base.format)))
	extensions = append(extensions, format...)
	extensions = append(extensions, make([]byte, 8)...) // the end of them
	h.BackingOffset = uint64(int(h.HeaderLength) + len(extensions))

	var front bytes.Buffer
	if err := binary.Write(&front, binary.BigEndian, h); err != nil {
		return nil, err
	}
	front.Write(extensions)
	front.WriteString(path)

	image := make([]byte, clusters*clusterSize)
	copy(image, front.Bytes())
	binary.BigEndian.PutUint64(image[clusterSize:], 2*clusterSize) // refcount table → block
	for i := range clusters {
		binary.BigEndian.PutUint16(image[2*clusterSize+2*i:], 1)
	}
	return image, nil
}
