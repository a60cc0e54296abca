// Package sandbox makes hosts on this machine, for trying and testing: each one
// a set of namespaces with a disk, an address and a host key of its own and a
// real OpenSSH sshd, all on one layer-2 underlay. It puts nothing into the
// machine's own network. It builds no lab and asks the hosts for nothing: that
// is done from outside, over SSH, as with any host.
//
// The hosts can be reached only from the sandbox's controller namespace, a
// network namespace on the same underlay without a default route: see
// [Sandbox.Exec] and [Sandbox.Dial].
//
// On request the hosts run the machine's libvirtd too, with nothing of the
// machine's own guests, networks and settings in it.
//
// A host is no wall: root in it is root on the machine's kernel.
//
// A host's init process is the calling program itself, started again. Such a
// program calls [InitIfAsked] before anything else, tests do so in TestMain.
//
// It needs Linux, root and an installed sshd, and for libvirt that and QEMU.
package sandbox

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// DefaultState is where sandboxes are kept unless Options say otherwise.
const DefaultState = "/var/lib/vxorch-sandbox"

// DefaultName is the name of a sandbox unless Options say otherwise.
const DefaultName = "sandbox"

// Options say what sandbox to make. The zero value works.
type Options struct {
	Name   string // [a-z0-9-], at most 20 characters; default DefaultName
	State  string // directory of all sandboxes, made and removed as needed; default DefaultState
	Hosts  int    // 1 to 200; default 2
	MTU    int    // of the underlay, in bytes; default 1500
	Device string // name of the underlay device in the hosts; default eth0
	IPv6   bool   // the underlay's addresses are IPv6 instead of IPv4

	// Libvirt has every host run libvirtd and virtlogd.
	Libvirt bool

	// Owner is a process without which the sandbox is of no use: when it has
	// ended, the next Sweep or Up removes the sandbox. 0: none.
	Owner int

	// SSHDConfig goes to the head of the hosts' sshd_config, where it wins. A
	// Match block in it must be closed by "Match all".
	SSHDConfig string
}

// HostInfo is what stays the same about a host.
type HostInfo struct {
	Name    string     `json:"name"` // also the host name it has
	Address netip.Addr `json:"address"`
	Port    int        `json:"port"`     // sshd's
	MAC     string     `json:"mac"`      // of the underlay device
	HostKey string     `json:"host_key"` // public, as in known_hosts
}

// HostStatus is a host as it is now.
type HostStatus struct {
	HostInfo
	PID int `json:"pid"` // of its init, as the machine counts; 0: stopped
}

// Status is a sandbox as it is now.
type Status struct {
	Name      string       `json:"name"`
	Dir       string       `json:"dir"` // of everything it keeps
	Inventory string       `json:"inventory"`
	Owner     int          `json:"owner,omitempty"`
	Stale     bool         `json:"stale"` // never finished, from before a reboot, or its owner has ended: only Down is of use
	Hosts     []HostStatus `json:"hosts"`
}

// Sandbox is one sandbox. Its methods are safe for concurrent use, by several
// processes too.
type Sandbox struct {
	dir    string
	record record
}

// record is what a sandbox's directory says about it.
type record struct {
	Name       string     `json:"name"`
	BootID     string     `json:"boot_id"` // of the machine that it lives on
	Owner      *process   `json:"owner,omitempty"`
	MTU        int        `json:"mtu"`
	Device     string     `json:"device"`
	Hosts      []HostInfo `json:"hosts"`
	Prefix     int        `json:"prefix"` // length, of the underlay
	Controller netip.Addr `json:"controller"`
	Ready      bool       `json:"ready"` // Up came to its end
}

// process is one process and no later one of the same number.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks from the machine's boot to its start
}

// The files in a sandbox's directory.
const (
	recordFile     = "sandbox.json"
	inventoryFile  = "inventory.yaml"
	identityFile   = "id_ed25519"
	knownHostsFile = "known_hosts"
	controllerFile = "controller" // the controller namespace is bound to it
	diskDir        = "disk"       // what the hosts wrote
	hostsDir       = "hosts"      // a directory a host, with the files below
	specFile       = "spec.json"
	processFile    = "init.json"
	consoleFile    = "console.log" // what init and its daemons said
	rootDir        = "root"        // mount point in the host's mount namespace
)

// Inventory gives the path of an inventory of the sandbox's hosts.
func (s *Sandbox) Inventory() string { return filepath.Join(s.dir, inventoryFile) }

// Identity gives the path of the private key that the hosts' root accepts.
func (s *Sandbox) Identity() string { return filepath.Join(s.dir, identityFile) }

// KnownHosts gives the path of a known_hosts file with the hosts' keys.
func (s *Sandbox) KnownHosts() string { return filepath.Join(s.dir, knownHostsFile) }

// Hosts lists the hosts, host1 first.
func (s *Sandbox) Hosts() []HostInfo { return append([]HostInfo(nil), s.record.Hosts...) }

// host gives the host of that name.
func (s *Sandbox) host(name string) (HostInfo, error) {
	var names []string
	for _, h := range s.record.Hosts {
		if h.Name == name {
			return h, nil
		}
		names = append(names, h.Name)
	}
	return HostInfo{}, fmt.Errorf("sandbox %s has no host %q, only %s", s.record.Name, name, strings.Join(names, ", "))
}

func (s *Sandbox) hostDir(name string) string { return filepath.Join(s.dir, hostsDir, name) }

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,19}$`)
	deviceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)
)

// complete fills in the defaults and checks the rest.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.State == "" {
		o.State = DefaultState
	}
	if o.Hosts == 0 {
		o.Hosts = 2
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if o.Device == "" {
		o.Device = "eth0"
	}
	leastMTU := 576 // RFC 791 asks every host to take that much
	if o.IPv6 {
		leastMTU = 1280 // RFC 8200 §5
	}
	switch {
	case !nameForm.MatchString(o.Name):
		return o, fmt.Errorf("%q cannot name a sandbox: at most 20 of a-z, 0-9 and -, not - first", o.Name)
	case !filepath.IsAbs(o.State):
		return o, fmt.Errorf("the sandboxes' directory %q is not absolute", o.State)
	case strings.ContainsAny(o.State, ",:\\"): // they part the options of an overlay mount
		return o, fmt.Errorf("the sandboxes' directory %q must not contain a comma, a colon or a backslash", o.State)
	case o.Hosts < 1 || o.Hosts > 200:
		return o, fmt.Errorf("%d hosts: must be 1 to 200", o.Hosts)
	case o.MTU < leastMTU || o.MTU > 65535:
		return o, fmt.Errorf("underlay MTU %d: must be %d to 65535", o.MTU, leastMTU)
	case !deviceForm.MatchString(o.Device) || o.Device == "lo":
		return o, fmt.Errorf("%q cannot name the underlay device", o.Device)
	case o.Owner < 0:
		return o, fmt.Errorf("owner %d is not a process", o.Owner)
	}
	return o, nil
}

// layOut gives the record of the sandbox that o, complete, asks for, host keys
// aside. Every sandbox has the same addresses: each is a network of its own.
func (o Options) layOut() record {
	r := record{Name: o.Name, MTU: o.MTU, Device: o.Device}
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 83, 0, byte(i)}) }
	r.Prefix = 24
	if o.IPv6 {
		address = func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x83, 15: byte(i)})
		}
		r.Prefix = 64
	}
	r.Controller = address(254)
	for i := 1; i <= o.Hosts; i++ {
		r.Hosts = append(r.Hosts, HostInfo{
			Name:    fmt.Sprintf("host%d", i),
			Address: address(i),
			Port:    22,
			// Fixed, so that after a reboot the others' neighbour entries are right.
			MAC: net.HardwareAddr{0x02, 0x76, 0x78, 0, 0, byte(i)}.String(),
		})
	}
	return r
}
