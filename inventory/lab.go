// Package inventory reads a lab's YAML file into a checked, complete and
// immutable Lab: ranges are expanded, defaults and addresses filled in, names
// made. It is pure: no network, no environment, no clock, no look at a host.
package inventory

import (
	"net/netip"
	"time"
)

// Lab is what an inventory asks for, every default filled in except those that
// only the hosts can tell (underlay, MTU "auto", the group's address family).
// Slices are in the order of the file.
type Lab struct {
	Name       string
	File       string // as given to Parse, for messages
	Hosts      []Host
	Networks   []Network
	Containers []Container
	Images     []Image
	VMs        []VM
	Checks     []Check
	EVPN       *EVPN // nil: no network has flood: evpn
}

// Host is one machine.
type Host struct {
	Name     string
	Address  string     // for SSH: a name, an IPv4 or an IPv6 address, without brackets
	Underlay string     // device; empty: the one that routes to the other hosts
	VTEP     netip.Addr // tunnel address; zero: the underlay's source address
	SSH      SSH
}

// SSH is how to reach a host; zero values leave the choice to the SSH layer.
type SSH struct {
	User       string
	Port       int            // 0: 22
	Identity   []string       // private key files, tried first and in this order; relative ones are relative to the inventory
	KnownHosts []string       // files; empty: the user's and the system's
	HostKey    string         // pinned SHA256:… fingerprint; empty: known_hosts decides
	AcceptNew  *bool          // learn the key of a host that known_hosts does not have; nil: as ssh_config says
	Jump       []string       // jump hosts, [user@]host[:port], from here to there; "none" alone: none; empty: as ssh_config says
	OpenSSH    bool           // let the system's ssh connect
	Persist    *time.Duration // how long that ssh stays connected after a run; nil: the SSH layer's choice
	Sudo       string         // auto, ask, never: how a user other than root becomes it; empty: auto
}

// Flood says how broadcast, unknown-unicast and multicast frames reach the
// other VTEPs of a network.
type Flood string

// Flood modes.
const (
	FloodMulticast Flood = "multicast" // to a multicast group of the underlay
	FloodUnicast   Flood = "unicast"   // a copy to each of the others (head-end replication)
	FloodStatic    Flood = "static"    // not at all: every VTEP is told where every endpoint is
	FloodEVPN      Flood = "evpn"      // a copy to each of the others, which BGP EVPN names, and tells where every endpoint is
	FloodAuto      Flood = "auto"      // multicast where it passes between all hosts, else unicast, of many hosts static
)

// EVPN is the control plane of the networks with flood: evpn (RFC 7432, RFC 8365):
// on every host a bgpd that speaks with the reflectors, from tunnel end to tunnel end.
type EVPN struct {
	ASN          int            // of all hosts
	Reflectors   []string       // hosts that hand on what the others tell them (RFC 4456), at least one
	Port         int            // TCP, at which the reflectors listen
	PasswordFile string         // of the sessions (RFC 2385), on the controller; Load makes it relative to the inventory; empty: none
	Clients      []netip.Prefix // from where reflectors take sessions; none: their own subnets, and the tunnel ends that are elsewhere
	Existing     bool           // the lab joins the FRR that each host runs by itself; else it runs its own
}

// Network is one VXLAN segment with a bridge on every host.
type Network struct {
	Name   string // also the bridge's
	VNI    int    // 1…16777215
	Port   int    // UDP
	VXLAN  string // the VTEP device's name
	Flood  Flood
	Group  netip.Addr            // multicast group; zero: the default one of the underlay's family
	Subnet netip.Prefix          // masked
	Second netip.Prefix          // of the other IP version, masked; zero: there is none
	MTU    int                   // bytes; 0: smallest underlay MTU less the VXLAN overhead
	VTEPs  map[string]netip.Addr // host name → temporary address for the VTEP proof; one a host
}

// Container is one network-namespace container.
type Container struct {
	Name       string
	Host       string
	Netns      string // namespace's name on the host
	Interfaces []Interface
}

// Image is what VMs' disks begin as. Exactly one of File, URL and Path is set.
type Image struct {
	Name   string
	File   string // on the controller; Load makes it relative to the inventory, ~/ is left to who opens it
	URL    string // http or https; the controller fetches it once
	Path   string // on the host, absolute
	SHA256 string // lower-case hex; empty: not given
	Login  Login
}

// Login is who may log in on the guest's serial console. The zero Login is none.
type Login struct{ User, Password string }

// VM is one virtual machine.
type VM struct {
	Name       string
	Host       string
	Domain     string // libvirt's name for it, unique on the host
	Image      string // name of one of the lab's images
	Memory     int64  // bytes, whole MiB
	VCPUs      int
	DiskBus    string // virtio, sata, ide, scsi
	NIC        string // model: virtio, e1000, …
	Machine    string // empty: the emulator's default
	VNC        *VNC   // nil: no graphics
	Provision  Provision
	Timeout    time.Duration // for its guest to answer; 0: deploy's own
	Interfaces []Interface
}

// VNC is a VM's screen over the network.
type VNC struct {
	Listen   netip.Addr // loopback, unless there is a password or Insecure
	Port     int        // 0: libvirt chooses
	Password string     // at most 8 characters
	Insecure bool       // may listen elsewhere without a password
}

// Provision says how a VM's guest learns its addresses.
type Provision string

// Ways of provisioning.
const (
	ProvisionAuto    Provision = "auto"    // DHCP, a NoCloud seed, then the console, until one does it
	ProvisionConsole Provision = "console" // logging in on the serial console
	ProvisionNoCloud Provision = "nocloud" // a seed ISO
	ProvisionDHCP    Provision = "dhcp"    // a lease on its own tap; IPv4 only
	ProvisionNone    Provision = "none"    // the image has them already, or somebody else does it
)

// Check is an expectation of two workloads beyond that those of a network reach
// each other.
type Check struct {
	From, To    string        // workloads
	Unreachable bool          // no reply is to come; else they share a network
	TCP         int           // port of an exchange of data over TCP, between containers; 0: an echo
	MaxRTT      time.Duration // of what is to be reachable; 0: any
	// MinThroughput is in bits a second, of data over TCP between containers; 0: any.
	// Without a port in TCP it is measured at one that vxorch chooses.
	MinThroughput int64
}

// Interface is a workload's leg in a network.
type Interface struct {
	Network string
	Inner   string     // eth0, eth1, …; of a VM: in the order of its NICs, whatever the guest calls them
	Link    string     // the outer end's name on the host (a veth's end, a VM's tap), unique in the lab, at most 15 characters
	Address netip.Addr // in the network's subnet
	Second  netip.Addr // in its second one; zero: there is none
	MAC     string     // lower case, colons; given or derived
}

// Subnets lists the network's one or two subnets.
func (n Network) Subnets() []netip.Prefix {
	if n.Second.IsValid() {
		return []netip.Prefix{n.Subnet, n.Second}
	}
	return []netip.Prefix{n.Subnet}
}

// Addresses lists the leg's addresses, one in each of its network's subnets.
func (i Interface) Addresses() []netip.Addr {
	if i.Second.IsValid() {
		return []netip.Addr{i.Address, i.Second}
	}
	return []netip.Addr{i.Address}
}

// Prefixes lists the addresses of a leg in the network, with their lengths.
func (n Network) Prefixes(leg Interface) []netip.Prefix {
	var all []netip.Prefix
	for i, address := range leg.Addresses() {
		all = append(all, netip.PrefixFrom(address, n.Subnets()[i].Bits()))
	}
	return all
}

// Host gives the host of that name; every name in a Lab has one.
func (l *Lab) Host(name string) Host {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h
		}
	}
	return Host{}
}

// Network gives the network of that name; every name in a Lab has one.
func (l *Lab) Network(name string) Network {
	for _, n := range l.Networks {
		if n.Name == name {
			return n
		}
	}
	return Network{}
}

// Image gives the image of that name; every name in a Lab has one.
func (l *Lab) Image(name string) Image {
	for _, i := range l.Images {
		if i.Name == name {
			return i
		}
	}
	return Image{}
}
