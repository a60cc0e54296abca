package plan

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// What VXLAN adds to each frame, in bytes: inner Ethernet 14, UDP 8, VXLAN 8 and
// the outer IP header (RFC 7348 §5).
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// minMTU is the least that IPv4 links must carry (RFC 791).
const minMTU = 68

// The seed's group, and its like of site scope for IPv6 (RFC 4291 §2.7).
var (
	groupIPv4 = netip.MustParseAddr("239.0.0.1")
	groupIPv6 = netip.MustParseAddr("ff05::1:1")
)

// underlay is one host's part of what carries the tunnels.
type underlay struct {
	device string
	local  netip.Addr
	subnet netip.Prefix // of local
	mtu    int
}

// findUnderlay settles the device and the tunnel address of a host.
func findUnderlay(host inventory.Host, facts hostapi.Facts) (underlay, *Problem) {
	device := host.Underlay
	if device == "" {
		var problem *Problem
		if device, problem = routedDevice(host, facts); problem != nil {
			return underlay{}, problem
		}
	}
	link := findLink(facts, device)
	if link == nil {
		return underlay{}, &Problem{
			host.Name, fmt.Sprintf("underlay device %s does not exist", device),
			fmt.Sprintf("set hosts.%s.underlay to the device that leads to the other hosts", host.Name),
		}
	}
	if !link.Up {
		return underlay{}, &Problem{host.Name, fmt.Sprintf("underlay device %s is down", device), "ip link set " + device + " up"}
	}
	local := host.VTEP
	if !local.IsValid() {
		local = sourceAddress(*link, facts)
	}
	if !local.IsValid() {
		return underlay{}, &Problem{
			host.Name, fmt.Sprintf("underlay device %s has no address", device),
			fmt.Sprintf("give it one, or set hosts.%s.vtep", host.Name),
		}
	}
	at := slices.IndexFunc(link.Addresses, func(p netip.Prefix) bool { return p.Addr() == local })
	if at < 0 {
		return underlay{}, &Problem{
			host.Name, fmt.Sprintf("tunnel address %s is not on underlay device %s", local, device),
			fmt.Sprintf("correct hosts.%s.vtep or hosts.%s.underlay", host.Name, host.Name),
		}
	}
	return underlay{device, local, link.Addresses[at].Masked(), link.MTU}, nil
}

const unrouted = "no route to any other host, so that the underlay device is not known"

// Unrouted tells whether p is that its host has no route to any other.
func (p *Problem) Unrouted() bool { return p.Message == unrouted }

// routedDevice is the one device whose routes lead to the other hosts.
func routedDevice(host inventory.Host, facts hostapi.Facts) (string, *Problem) {
	hint := fmt.Sprintf("set hosts.%s.underlay to the device that leads to the other hosts", host.Name)
	var devices []string
	for _, route := range facts.Routes {
		switch {
		case route.Device == "lo":
			return "", &Problem{host.Name, fmt.Sprintf("%s, another host's address, is this host itself", route.Peer), "give each host an address of its own"}
		case route.Device != "" && !slices.Contains(devices, route.Device):
			devices = append(devices, route.Device)
		}
	}
	switch len(devices) {
	case 0:
		return "", &Problem{host.Name, unrouted, hint}
	case 1:
		return devices[0], nil
	}
	slices.Sort(devices)
	return "", &Problem{host.Name, "the routes to the other hosts go through several devices: " + strings.Join(devices, ", "), hint}
}

// sourceAddress is what the kernel takes towards the other hosts, else the
// device's first address that is not link-local.
func sourceAddress(device hostapi.Link, facts hostapi.Facts) netip.Addr {
	for _, route := range facts.Routes {
		if route.Device == device.Name && route.Source.IsValid() {
			return route.Source
		}
	}
	for _, p := range device.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// settleMTU is the overlay's MTU: as given, else the smallest underlay's less
// the overhead, the same on every host since one segment has no router to tell
// a sender that a frame is too big. Of a host that is not at hand what was last
// known counts; while nothing is, whose underlay may be the smallest, what stands
// is not raised.
func (d *deployment) settleMTU(network inventory.Network) (int, *Problem) {
	smallest, where := 0, ""
	for _, host := range d.hosts {
		if room := d.underlays[host].room(); where == "" || room < smallest {
			smallest, where = room, host
		}
	}
	switch {
	case smallest < minMTU:
		return 0, &Problem{
			where, fmt.Sprintf("underlay device %s has mtu %d, too small for VXLAN", d.underlays[where].device, d.underlays[where].mtu),
			"raise it, or choose another underlay device",
		}
	case network.MTU == 0:
		for _, u := range d.standIns {
			if room := u.room(); room >= minMTU {
				smallest = min(smallest, room)
			}
		}
		return min(smallest, d.standingMTU(network)), nil
	case network.MTU > smallest:
		return 0, &Problem{
			where, fmt.Sprintf("network %s wants mtu %d, but underlay device %s leaves room for %d", network.Name, network.MTU, d.underlays[where].device, smallest),
			fmt.Sprintf("set networks.%s.mtu to auto or at most %d", network.Name, smallest),
		}
	}
	return network.MTU, nil
}

// room is the largest frame that the tunnels carry, in bytes without Ethernet's
// header.
func (u underlay) room() int {
	if u.local.Is6() {
		return u.mtu - overheadIPv6
	}
	return u.mtu - overheadIPv4
}

// standingMTU is the least that the network's bridges have, if nothing is known
// of a host; else no bound.
func (d *deployment) standingMTU(network inventory.Network) int {
	least := math.MaxInt
	if d.complete() {
		return least
	}
	for _, host := range d.hosts {
		if bridge := findLink(d.facts[host], network.Name); bridge != nil && bridge.Mark != nil && bridge.Mark.Lab == d.lab.Name {
			least = min(least, bridge.MTU)
		}
	}
	return least
}

// settleGroup is the multicast group: as given, else the default of the
// underlay's family, which must be the same on every host.
func settleGroup(network inventory.Network, hosts []string, underlays map[string]underlay) (netip.Addr, *Problem) {
	six := underlays[hosts[0]].local.Is6()
	for _, host := range hosts[1:] {
		if underlays[host].local.Is6() != six {
			return netip.Addr{}, &Problem{
				host, fmt.Sprintf("tunnel address %s is of another family than %s of %s", underlays[host].local, underlays[hosts[0]].local, hosts[0]),
				"give every host a vtep address of one family",
			}
		}
	}
	switch {
	case network.Group.IsValid() && network.Group.Is6() != six:
		return netip.Addr{}, &Problem{
			hosts[0], fmt.Sprintf("network %s has group %s, but the tunnel address is %s", network.Name, network.Group, underlays[hosts[0]].local),
			"take a group of the underlay's family",
		}
	case network.Group.IsValid():
		return network.Group, nil
	case six:
		return groupIPv6, nil
	}
	return groupIPv4, nil
}

func findLink(facts hostapi.Facts, name string) *hostapi.Link {
	return find(facts.Links, func(l *hostapi.Link) bool { return l.Name == name })
}
