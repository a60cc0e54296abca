package hostapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ImageStore keeps the host's base images, each under its SHA-256, read-only.
type ImageStore interface {
	// PutImage writes data at an offset of an image that is on its way and tells
	// how many of its bytes the host has, from the start: with the last one the
	// SHA-256 is checked and the image can be used, and before that it cannot. A
	// chunk that begins past what the host has is ErrInvalid; one that it has
	// already changes nothing. Without data it only tells. Needs the lock.
	PutImage(ctx context.Context, chunk ImageChunk) (have int64, err error)
}

// ImageChunk is a piece of an image on its way to a host. At most 4 MiB of data.
type ImageChunk struct {
	Lab    string `json:"lab"`
	SHA256 string `json:"sha256"` // of the whole, lower-case hex
	Size   int64  `json:"size"`   // of the whole, bytes
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"`
}

// Image says what a VM's disk begins as: a base image of the store or a file
// that the host has already. Exactly one of SHA256 and Path is set.
type Image struct {
	SHA256 string `json:"sha256,omitempty"` // of the store
	Path   string `json:"path,omitempty"`   // absolute, on the host; never written to
	Sum    string `json:"sum,omitempty"`    // SHA-256 that the file at Path has to have when a disk begins as it; empty: any
}

// Short names the image for people.
func (i Image) Short() string {
	if i.Path != "" {
		return i.Path
	}
	return "sha256:" + i.SHA256[:min(len(i.SHA256), 12)]
}

// VirtNetwork is a libvirt network that hands VMs to a bridge (forward
// mode='bridge'), active and started with libvirtd.
type VirtNetwork struct {
	Name   string `json:"name"`
	For    string `json:"for,omitempty"` // network it serves; goes into the mark
	Bridge string `json:"bridge"`
}

// Domain is a VM: defined, running, with a serial console and an overlay of its
// own over its image.
type Domain struct {
	Name       string            `json:"name"`
	For        string            `json:"for,omitempty"` // workload it is; goes into the mark
	Image      Image             `json:"image"`
	Memory     int64             `json:"memory"` // bytes
	VCPUs      int               `json:"vcpus"`
	DiskBus    string            `json:"disk_bus"`          // virtio, sata, ide, scsi
	Machine    string            `json:"machine,omitempty"` // empty: the emulator's default
	VNC        *VNC              `json:"vnc,omitempty"`     // nil: no graphics
	Interfaces []DomainInterface `json:"interfaces"`
	// Seed is a NoCloud seed, an ISO 9660 image, attached read-only on the disk's
	// own bus, which the guest has a driver for; empty: none.
	Seed []byte `json:"seed,omitempty"`
	// Lease: the helper answers the guest's DHCP requests on its own tap with the
	// first IPv4 address of each interface until this run ends.
	Lease bool `json:"lease,omitempty"`
}

// VNC is a VM's screen over the network.
type VNC struct {
	Listen   string `json:"listen"`             // address; 127.0.0.1 unless told otherwise
	Port     int    `json:"port,omitempty"`     // 0: libvirt chooses
	Password string `json:"password,omitempty"` // at most 8 characters count (RFC 6143 §7.2.2)
}

// DomainInterface is a VM's leg in a network.
type DomainInterface struct {
	Network   string         `json:"network"` // libvirt's
	Tap       string         `json:"tap"`     // the device's name on the host
	Model     string         `json:"model"`   // virtio, e1000, …
	MAC       string         `json:"mac"`
	MTU       int            `json:"mtu"` // bytes; the guest is told where the model can
	Addresses []netip.Prefix `json:"addresses"`
}

// Spec is a fingerprint of everything about the domain that a change of needs a
// new one: all but its mark, its lease, what its image's sum has to be and the
// password of its screen. It is kept
// in the mark, which more people may read than may know the password.
func (w Domain) Spec() string {
	w.For, w.Lease, w.Image.Sum = "", false, ""
	if w.VNC != nil {
		screen := *w.VNC
		screen.Password = ""
		w.VNC = &screen
	}
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // the type holds nothing that JSON does not know
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Guest is the operating system inside a domain, as a step: the step is done
// when the guest answers for all of its addresses on the data network. Where it
// does not by itself, and Console allows, it is told its addresses on the serial
// console. Changed is true if that was needed.
type Guest struct {
	Domain     string            `json:"domain"`
	For        string            `json:"for,omitempty"` // workload it is
	Interfaces []DomainInterface `json:"interfaces"`
	Login      Login             `json:"login"`
	Console    bool              `json:"console"`
	// Lease: as a domain's, while the step waits. A guest that an earlier run left
	// behind as it booted may be asking still.
	Lease bool `json:"lease,omitempty"`
	// Of a guest that runs on KVM; one that is emulated has EmulatedFactor times as
	// long.
	Patience time.Duration `json:"patience"` // before the console is tried
	Deadline time.Duration `json:"deadline"` // for the whole; the error has the end of the console's text
}

// EmulatedFactor is how much longer than others a guest that is emulated, without
// KVM, may take to boot. Its processor is tenfold slower, but what a boot takes
// long for is waiting: for DHCP, for a metadata service, for a getty.
const EmulatedFactor = 2

// Login is who logs in on a serial console. It never goes into a mark, an
// argument or a log.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// VirtQuery says what to read of libvirt; what bears this lab's mark is reported
// anyway.
type VirtQuery struct {
	Networks []string `json:"networks,omitempty"`
	Domains  []string `json:"domains,omitempty"`
	Images   []Image  `json:"images,omitempty"`
	// Consoles are domains whose guests will be told or sent something from inside
	// soon. With the lock, the consoles of those that run and are the lab's are opened
	// meanwhile, since it takes up to a second until a guest hears what is typed there.
	// One that nobody comes to use is closed after a while, at the latest with the
	// session.
	Consoles []string `json:"consoles,omitempty"`
}

// VirtFacts is what was seen of libvirt and the image store.
type VirtFacts struct {
	Unusable *Error             `json:"unusable,omitempty"` // why no VM can run here; the rest is then empty
	Version  string             `json:"version"`            // libvirt's
	Networks []VirtNetworkFacts `json:"networks"`
	Domains  []DomainFacts      `json:"domains"`
	Images   []ImageFacts       `json:"images"` // as asked, in that order
	Free     int64              `json:"free"`   // bytes left where images and overlays are kept
}

// VirtNetworkFacts is a libvirt network as seen.
type VirtNetworkFacts struct {
	Name      string `json:"name"`
	Mark      *Mark  `json:"mark,omitempty"`
	Forward   string `json:"forward"`
	Bridge    string `json:"bridge"`
	Active    bool   `json:"active"`
	Autostart bool   `json:"autostart"`
}

// DomainUndefined is the state of a domain of which only files are left.
const DomainUndefined = "undefined"

// Kept says what libvirt keeps of a domain for its next start.
type Kept string

// What libvirt can keep.
const (
	KeptOurs  Kept = ""        // the definition that it was made with
	KeptNone  Kept = "none"    // it runs, and is forgotten when it stops
	KeptOther Kept = "another" // somebody has defined it anew
)

// KeptDefinition is the property of a domain that what libvirt keeps is ours.
const KeptDefinition = "kept definition"

// DomainFacts is a domain as seen, by its live definition where it runs; its mark
// is that of the definition that libvirt keeps, where it keeps one.
type DomainFacts struct {
	Name       string            `json:"name"`
	Mark       *Mark             `json:"mark,omitempty"`
	Spec       string            `json:"spec,omitempty"` // of the Domain it was made from
	State      string            `json:"state"`          // running, paused, shutoff, crashed, … or DomainUndefined
	Memory     int64             `json:"memory"`         // bytes
	VCPUs      int               `json:"vcpus"`
	Kept       Kept              `json:"kept,omitempty"`
	Emulated   bool              `json:"emulated,omitempty"` // by TCG, since no vCPU ran on KVM
	Interfaces []DomainInterface `json:"interfaces"`         // without addresses
	// Whole: the overlay and, where there is one, the seed are there and the
	// overlay stands on the image that the domain was made from.
	Whole bool `json:"whole"`
}

// ImageFacts is an image as seen.
type ImageFacts struct {
	Image Image `json:"image"`
	Have  int64 `json:"have"`  // bytes from the start; 0: none
	Whole bool  `json:"whole"` // checked, and can be used
}

// Diff lists what differs on n, a network of w's name that is ours.
func (w VirtNetwork) Diff(n VirtNetworkFacts) (changes []Change, rebuild bool) {
	var fixed, live differences
	fixed.text("forward", n.Forward, "bridge")
	fixed.text("bridge", n.Bridge, w.Bridge)
	live.boolean("active", n.Active, true)
	live.boolean("autostart", n.Autostart, true)
	return append(fixed, live...), len(fixed) > 0
}

// Diff lists what differs on d, a domain of w's name that is ours. One that was
// made from something else, or has lost its disk, needs a new domain. What was
// done to it by hand since is undone, its disk as it is: one that is defined
// otherwise is defined again, one that runs otherwise started again, and one that
// does not run is started.
func (w Domain) Diff(d DomainFacts) (changes []Change, rebuild bool) {
	if d.State == DomainUndefined {
		return []Change{{"state", d.State, "running"}}, true
	}
	var fixed, live differences
	fixed.text("definition", d.Spec, w.Spec())
	fixed.boolean("disk whole", d.Whole, true)
	live = w.runsAs(d)
	if d.Kept != KeptOurs {
		live.text(KeptDefinition, string(d.Kept), "ours")
	}
	live.text("state", d.State, "running")
	return append(fixed, live...), len(fixed) > 0
}

// RunsAs tells whether d is as w wants it by its live definition where it runs,
// else by the one that libvirt keeps.
func (w Domain) RunsAs(d DomainFacts) bool { return len(w.runsAs(d)) == 0 }

func (w Domain) runsAs(d DomainFacts) (live differences) {
	live.text("memory", strconv.FormatInt(d.Memory, 10), strconv.FormatInt(w.Memory, 10))
	live.integer("vcpus", d.VCPUs, w.VCPUs)
	live.text("interfaces", legs(d.Interfaces), legs(w.Interfaces))
	return live
}

// legs is what libvirt knows of interfaces, as text.
func legs(all []DomainInterface) string {
	var texts []string
	for _, i := range all {
		texts = append(texts, strings.Join([]string{i.MAC, i.Network, i.Model, strconv.Itoa(i.MTU)}, " "))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
