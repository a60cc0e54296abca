package virt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os"
	"strings"

	"vxorch/remote/hostapi"
)

const maxVNCPassword = 8 // bytes; RFC 6143 §7.2.2, and libvirt refuses longer ones

// definition is what a domain is to be, for libvirt.
type definition struct {
	hostapi.Domain
	kind  string // kvm or qemu
	caps  capabilities
	store store
	mark  mark
	base  disk   // the file mark.Image
	uuid  string // of the domain, where it is there already
}

func (d definition) text() (string, error) {
	def := domainXML{
		Type: d.kind, Name: d.Name, UUID: d.uuid,
		Memory: memoryXML{"KiB", d.Memory / 1024}, VCPUs: d.VCPUs,
		ACPI: &struct{}{},
	}
	def.OS.Type.Machine, def.OS.Type.Value = d.Machine, "hvm"
	def.OS.Boot.Dev = "hd"
	if d.kind == typeKVM {
		// Many distributions ask for more than the emulator's default CPU.
		def.CPU = &cpuXML{"host-passthrough"}
	}
	serial := serialXML{Type: "pty"}
	console := serial
	console.Target.Type = "serial"
	serial.Log = &logXML{d.store.log(d.mark.Lab, d.Name), "off"}
	def.Devices = devicesXML{
		Disks: d.disks(),
		// An emulated USB controller keeps an idle guest busy.
		Controllers: []controllerXML{{Type: "usb", Model: "none"}},
		Serials:     []serialXML{serial},
		Consoles:    []serialXML{console},
		Balloon:     &modelXML{"none"},
	}
	if d.DiskBus == "scsi" {
		def.Devices.Controllers = append(def.Devices.Controllers, controllerXML{"scsi", "virtio-scsi"})
	}
	if d.caps.RNG.Supported != "no" {
		rng := rngXML{Model: "virtio"}
		rng.Backend.Model, rng.Backend.Value = "random", "/dev/urandom"
		def.Devices.RNGs = []rngXML{rng}
	}
	for _, i := range d.Interfaces {
		leg := interfaceXML{Type: "network"}
		leg.MAC.Address = strings.ToLower(i.MAC)
		leg.Source.Network = i.Network
		leg.Target.Dev = i.Tap
		leg.Model.Type = i.Model
		leg.MTU = &mtuXML{i.MTU}
		def.Devices.Interfaces = append(def.Devices.Interfaces, leg)
	}
	if v := d.VNC; v != nil {
		vnc := graphicsXML{Type: "vnc", Port: v.Port, AutoPort: "no", Password: v.Password[:min(len(v.Password), maxVNCPassword)]}
		if v.Port == 0 {
			vnc.Port, vnc.AutoPort = -1, "yes"
		}
		vnc.Listen.Type, vnc.Listen.Address = "address", v.Listen
		def.Devices.Graphics = []graphicsXML{vnc}
	}
	d.mark.Shape = def.shape()
	def.Metadata = metadata{&d.mark}
	text, err := xml.Marshal(def)
	if err != nil {
		return "", fmt.Errorf("define domain %s: %w", d.Name, err)
	}
	return string(text), nil
}

// disks are the overlay and, on the same bus, which is one that the guest has a
// driver for, the seed.
func (d definition) disks() []diskXML {
	prefix := map[string]string{"virtio": "vd", "ide": "hd"}[d.DiskBus]
	if prefix == "" {
		prefix = "sd"
	}
	disk := func(device, format, file, name string) diskXML {
		x := diskXML{Type: "file", Device: device}
		x.Driver.Name, x.Driver.Type = "qemu", format
		x.Source.File = file
		x.Target.Dev, x.Target.Bus = prefix+name, d.DiskBus
		return x
	}
	overlay := disk("disk", formatQcow2, d.store.disk(d.mark.Lab, d.Name), "a")
	// libvirt would give the image to QEMU's user, and not always back to its own.
	overlay.Backing = &backingXML{Type: "file", Source: fileXML{d.mark.Image, &labelXML{"dac", "no"}}}
	overlay.Backing.Format.Type = d.base.format
	disks := []diskXML{overlay}
	if len(d.Seed) > 0 {
		device := "cdrom"
		if d.DiskBus == "virtio" { // which has none
			device = "disk"
		}
		seed := disk(device, formatRaw, d.store.seed(d.mark.Lab, d.Name), "b")
		seed.ReadOnly = &struct{}{}
		disks = append(disks, seed)
	}
	return disks
}

// shape is a fingerprint of a definition: of what is written here and libvirt
// gives back as it was written. What libvirt adds, or fills in, is not in it, nor
// is the password of a screen, which it keeps to itself.
func (x domainXML) shape() string {
	var b strings.Builder
	fmt.Fprintln(&b, x.Type, x.Memory, x.VCPUs, x.OS.Boot, len(x.Devices.RNGs))
	for _, d := range x.Devices.Disks {
		fmt.Fprintln(&b, d.Type, d.Device, d.Driver, d.Source.File, d.Target, d.ReadOnly != nil)
	}
	for _, i := range x.Devices.Interfaces {
		fmt.Fprintln(&b, i.Type, i.MAC, i.Source, i.Target, i.Model)
		if i.MTU != nil {
			fmt.Fprintln(&b, i.MTU.Size)
		}
	}
	for _, s := range x.Devices.Serials {
		fmt.Fprintln(&b, s.Type, s.Target.Port)
		if s.Log != nil {
			fmt.Fprintln(&b, s.Log.File)
		}
	}
	for _, g := range x.Devices.Graphics {
		fmt.Fprintln(&b, g.Type, g.Port, g.AutoPort, g.Listen)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

// readDefinition gives what a domain's definition tells of it: the live one where
// it runs, and the one that libvirt keeps; nil if it keeps none.
func readDefinition(live domainXML, kept *domainXML, s store) hostapi.DomainFacts {
	d := hostapi.DomainFacts{
		Name: live.Name, Memory: live.Memory.Value * 1024, VCPUs: live.VCPUs, Emulated: live.Type == typeTCG,
	}
	for _, i := range live.Devices.Interfaces {
		leg := hostapi.DomainInterface{Network: i.Source.Network, Tap: i.Target.Dev, Model: i.Model.Type, MAC: i.MAC.Address}
		if i.MTU != nil {
			leg.MTU = i.MTU.Size
		}
		d.Interfaces = append(d.Interfaces, leg)
	}
	mark := live.Metadata.Mark
	if kept != nil {
		mark = kept.Metadata.Mark
	}
	if d.Mark = mark.public(); d.Mark == nil {
		return d
	}
	switch {
	case kept == nil:
		d.Kept = hostapi.KeptNone
	case kept.shape() != mark.Shape:
		d.Kept = hostapi.KeptOther
	}
	d.Spec, d.Whole = mark.Spec, true
	for _, x := range live.Devices.Disks {
		file := x.Source.File
		if file == s.disk(d.Mark.Lab, live.Name) {
			over, err := readDisk(file)
			d.Whole = d.Whole && err == nil && over.backing == mark.Image && exists(over.backing)
		} else {
			d.Whole = d.Whole && exists(file)
		}
	}
	return d
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
