package hostapi

import "net/netip"

// Facts is what was seen on a host, in the order of names.
type Facts struct {
	Hostname   string           `json:"hostname"`
	Kernel     string           `json:"kernel"`  // uname -r
	Machine    string           `json:"machine"` // uname -m
	BootID     string           `json:"boot_id"` // /proc/sys/kernel/random/boot_id
	Links      []Link           `json:"links"`   // in the host's own namespace, as asked
	Namespaces []NamespaceFacts `json:"namespaces"`
	Routes     []Route          `json:"routes"`         // one a peer asked for, in that order
	Virt       *VirtFacts       `json:"virt,omitempty"` // nil unless asked for
	FRR        *FRRFacts        `json:"frr,omitempty"`  // nil unless asked for, or the lab has one
	Holders    []PortHolder     `json:"holders,omitempty"`
	Overlaps   []HostRoute      `json:"overlaps,omitempty"`
	// Leftovers are things of the lab that are neither link nor namespace as
	// they should be: paths of intents, of a namespace's empty mount point, …; of
	// a thorough look also links in other namespaces, namespaces without a name,
	// files and processes.
	Leftovers []string `json:"leftovers,omitempty"`
	// Sessions are, of a thorough look, other helpers that work for the lab.
	Sessions []string `json:"sessions,omitempty"`
}

// Mark says whose an object is. It lives on the object: a link's alias, a
// namespace's loopback's alias.
type Mark struct {
	Lab        string `json:"lab"`
	For        string `json:"for"`        // network or workload
	User       string `json:"user"`       // who made it
	Controller string `json:"controller"` // from where
	// Intended: the object bears no mark yet but matches an intent that was
	// written before it was made. It is ours all the same.
	Intended bool `json:"intended,omitempty"`
}

// Link is a network device as the kernel shows it.
type Link struct {
	Name      string         `json:"name"`
	Index     int            `json:"index"`
	Kind      string         `json:"kind"` // vxlan, bridge, veth, …; empty for hardware
	MAC       string         `json:"mac"`
	MTU       int            `json:"mtu"` // bytes
	Up        bool           `json:"up"`  // administratively
	Master    string         `json:"master,omitempty"`
	Mark      *Mark          `json:"mark,omitempty"` // nil: not vxorch's
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	VXLAN     *VXLAN         `json:"vxlan,omitempty"` // of kind vxlan
	// Quiet: ARP is answered for the link's own addresses only, no IPv6 link-local
	// address is generated and router advertisements are not accepted, or the
	// kernel has no IPv6.
	Quiet bool `json:"quiet,omitempty"`
	// PeerIndex is, of a veth, the other end's index in its own namespace.
	PeerIndex int `json:"peer_index,omitempty"`
	// STP is, of a bridge, whether it speaks the spanning tree protocol.
	STP bool `json:"stp,omitempty"`
	// PortLearning and Suppress are, of a bridge's port, whether the bridge learns
	// the MACs that come in by it, and whether it keeps ARP and ND back from it.
	PortLearning bool `json:"port_learning,omitempty"`
	Suppress     bool `json:"suppress,omitempty"`
}

// VXLAN is what is particular to a VXLAN link.
type VXLAN struct {
	VNI      int        `json:"vni"`
	Port     int        `json:"port"`
	Group    netip.Addr `json:"group,omitzero"`
	Local    netip.Addr `json:"local,omitzero"`
	Device   string     `json:"device,omitempty"` // underlay; empty: none
	Learning bool       `json:"learning"`
	// Shares names what the link asks of its UDP port beyond the lab's: the kernel
	// lets two links share a port only if they ask the same. Empty: nothing.
	Shares string `json:"shares,omitempty"`
	// Forwarding is what it was told of the others; of this lab's VTEPs only.
	Forwarding ForwardingFacts `json:"forwarding,omitzero"`
}

// NamespaceFacts is a named network namespace as seen.
type NamespaceFacts struct {
	Name  string `json:"name"`
	Mark  *Mark  `json:"mark,omitempty"` // nil: not vxorch's
	Links []Link `json:"links"`          // in it, only where it carries this lab's mark
}

// Route is how the host reaches a peer.
type Route struct {
	Peer   netip.Addr `json:"peer"`
	Device string     `json:"device,omitempty"` // empty: no route
	Source netip.Addr `json:"source,omitzero"`
}

// PortHolder is a socket of a process on a UDP port. The kernel's own sockets,
// those of VXLAN links among them, are none.
type PortHolder struct {
	Port    int        `json:"port"`
	Address netip.Addr `json:"address"`           // that it is bound to; 0.0.0.0 or ::: any
	Process string     `json:"process,omitempty"` // command name; empty: not found out
	PID     int        `json:"pid,omitempty"`
}

// HostRoute is a route of the host's main table that is none of vxorch's and
// shares addresses with a subnet asked for. A default route is never one.
type HostRoute struct {
	Subnet  netip.Prefix `json:"subnet"` // as asked for
	Prefix  netip.Prefix `json:"prefix"` // the route's destination
	Device  string       `json:"device,omitempty"`
	Gateway netip.Addr   `json:"gateway,omitzero"` // zero: the addresses are on the device's own link
}
