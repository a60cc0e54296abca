package hostapi

import (
	"net/netip"
	"time"
)

// Op says what a step does to its object.
type Op string

// What a step can do. Create, change and rebuild are the plan's forecast: the
// helper brings the object to the wanted state from whatever it finds.
const (
	Create  Op = "create"
	Update  Op = "change"  // in place
	Rebuild Op = "rebuild" // removed and made anew, since the kernel cannot change it in place
	Remove  Op = "remove"
	Await   Op = "await" // of a guest: until it answers; of routes: until they have come
)

// Step is one thing to do on one host: exactly one of the objects is set. Of an
// object to remove only what names it is needed. Removing what is not there
// changes nothing.
type Step struct {
	Op      Op       `json:"op"`
	Changes []Change `json:"changes,omitempty"` // of Update and Rebuild: what differs, for people

	VTEP      *VTEP      `json:"vtep,omitempty"`
	Bridge    *Bridge    `json:"bridge,omitempty"`
	Namespace *Namespace `json:"namespace,omitempty"`
	Veth      *Veth      `json:"veth,omitempty"`
	Address   *Address   `json:"address,omitempty"`

	Forwarding *Forwarding `json:"forwarding,omitempty"`
	FRR        *FRR        `json:"frr,omitempty"`
	Routes     *Routes     `json:"routes,omitempty"`

	VirtNetwork *VirtNetwork `json:"virt_network,omitempty"`
	Domain      *Domain      `json:"domain,omitempty"`
	Guest       *Guest       `json:"guest,omitempty"`
}

// Together is how many of the steps, from the first one on, are all done before
// the failure of any of them ends the batch; atOnce: at the same time. Those that
// make VMs are, since one that fails is no reason to go without the others, and
// those that wait for guests, which boot at the same time; else it is one.
func Together(steps []Step) (n int, atOnce bool) {
	guest := func(s Step) bool { return s.Guest != nil }
	domain := func(s Step) bool { return s.Domain != nil && s.Op != Remove }
	for _, is := range []func(Step) bool{guest, domain} {
		for n < len(steps) && is(steps[n]) {
			n++
		}
		if n > 0 {
			return n, steps[0].Guest != nil
		}
	}
	return min(1, len(steps)), false
}

// Change is one property that differs, as text.
type Change struct {
	Property string `json:"property"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// Kinds of objects, as marks, intents and messages name them.
const (
	KindVTEP      = "vtep"
	KindBridge    = "bridge"
	KindNamespace = "namespace"
	KindVeth      = "veth"
	KindAddress   = "address"

	KindForwarding = "forwarding"
	KindFRR        = "control plane"
	KindRoutes     = "routes"

	KindVirtNetwork = "libvirt network"
	KindDomain      = "domain"
	KindGuest       = "guest"
)

// Object names the step's object by kind and name; an address by its link.
func (s Step) Object() (kind, name string) {
	switch {
	case s.VTEP != nil:
		return KindVTEP, s.VTEP.Name
	case s.Bridge != nil:
		return KindBridge, s.Bridge.Name
	case s.Namespace != nil:
		return KindNamespace, s.Namespace.Name
	case s.Veth != nil:
		return KindVeth, s.Veth.Name
	case s.Address != nil:
		return KindAddress, s.Address.Link
	case s.Forwarding != nil:
		return KindForwarding, s.Forwarding.VTEP
	case s.FRR != nil:
		return KindFRR, FRRName
	case s.Routes != nil:
		return KindRoutes, s.Routes.VTEP
	case s.VirtNetwork != nil:
		return KindVirtNetwork, s.VirtNetwork.Name
	case s.Domain != nil:
		return KindDomain, s.Domain.Name
	case s.Guest != nil:
		return KindGuest, s.Guest.Domain
	}
	return "", ""
}

// VTEP is a VXLAN tunnel end in the host's own namespace (RFC 7348), up, without
// an IPv6 link-local address and deaf to router advertisements. It finds the
// others by its group and by learning, or by what a Forwarding tells it.
type VTEP struct {
	Name   string     `json:"name"`
	For    string     `json:"for,omitempty"`  // network it serves; goes into the mark
	VNI    int        `json:"vni"`            // 1…16777215
	Port   int        `json:"port"`           // UDP destination port; never 0, which the kernel takes for 8472
	Group  netip.Addr `json:"group,omitzero"` // multicast group that BUM traffic goes to; zero: none
	Local  netip.Addr `json:"local,omitzero"`
	Device string     `json:"device"` // underlay
	MTU    int        `json:"mtu"`    // bytes
	MAC    string     `json:"mac"`    // given at creation, so that udev leaves it alone
	Bridge string     `json:"bridge"` // to be a port of; empty: stands alone
	// Static: neither it nor its bridge port learns a MAC, and the port keeps back
	// the ARP and ND that its bridge can answer (neigh_suppress).
	Static bool `json:"static,omitempty"`
}

// Bridge is a bridge in the host's own namespace with STP off, up, without an
// IPv6 link-local address and deaf to router advertisements.
type Bridge struct {
	Name string `json:"name"`
	For  string `json:"for,omitempty"` // network it serves; goes into the mark
	MTU  int    `json:"mtu"`           // bytes
	MAC  string `json:"mac"`
}

// Namespace is a named network namespace that `ip netns` sees, its loopback up.
type Namespace struct {
	Name string `json:"name"`
	For  string `json:"for,omitempty"` // workload it is; goes into the mark
}

// Veth joins a namespace to a bridge. The outer end stands in the host's own
// namespace, without an IPv6 link-local address and deaf to router
// advertisements; both ends are up.
type Veth struct {
	Name      string         `json:"name"`          // outer end
	For       string         `json:"for,omitempty"` // workload it serves; goes into the mark
	Bridge    string         `json:"bridge"`        // the outer end is a port of it
	MAC       string         `json:"mac"`           // outer end
	MTU       int            `json:"mtu"`           // bytes, both ends
	Netns     string         `json:"netns"`         // named namespace of the inner end
	Inner     string         `json:"inner"`         // inner end's name: eth0, eth1, …
	InnerMAC  string         `json:"inner_mac"`
	Addresses []netip.Prefix `json:"addresses"` // exactly these on the inner end, link-local ones aside
}

// Address is an address of the lab's own VTEP or bridge, for a proof. The kernel
// takes it away after Lifetime, with its route, if nobody else does.
type Address struct {
	Link     string        `json:"link"`
	Prefix   netip.Prefix  `json:"prefix"`
	Lifetime time.Duration `json:"lifetime,omitempty"` // valid_lft, whole seconds; never 0 on an address to create
}
