// Package trace follows one ping from link to link: which way it should take, and
// from what was seen on that way, which it took, when it was where, and where it
// was lost. It is pure: listening and sending are left to others.
package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/packets"
	"vxorch/remote/hostapi"
)

// Kinds of hops.
const (
	Inner    = "inner"    // a container's own link
	Port     = "port"     // a bridge's port: a veth's outer end or a VM's tap
	VTEP     = "vtep"     // a tunnel's end
	Underlay = "underlay" // the device that carries the tunnels
)

// Hop is a link that the ping passes.
type Hop struct {
	Host  string `json:"host"`
	Kind  string `json:"kind"`
	Netns string `json:"netns,omitempty"`
	Link  string `json:"link"`
	Of    string `json:"of,omitempty"` // endpoint, of Inner and Port

	out bool // what goes from the path's beginning to its end leaves by the link, else it comes in
}

// End is one end of a path.
type End struct {
	Name    string     `json:"name"` // an endpoint's; else the address
	Host    string     `json:"host,omitempty"`
	Address netip.Addr `json:"address"`

	netns string
	guest *hostapi.Guest
	leg   inventory.Interface
}

// Path is the way of a ping and of its reply.
type Path struct {
	Network  inventory.Network
	From, To End
	Hops     []Hop
	tunnel   map[string]hostapi.Link // VTEPs by host, as they stand
	device   map[string]string       // underlay devices by host
}

// consoleDeadline bounds a VM's ping through its console.
const consoleDeadline = 60 * time.Second

// Find gives the ends of a way through lab, whose hops Stand fills in. to is an
// endpoint or an address.
func Find(lab *inventory.Lab, from, to string) (*Path, error) {
	first := legs(lab, from)
	if len(first) == 0 {
		return nil, fmt.Errorf("no container and no VM is called %q", from)
	}
	if guest := first[0].guest; guest != nil && guest.Login.User == "" {
		return nil, fmt.Errorf("nothing can be sent from inside %s: its image has no login", from)
	}
	if address, err := netip.ParseAddr(to); err == nil {
		return towards(lab, first, address.Unmap())
	}
	second := legs(lab, to)
	if len(second) == 0 {
		return nil, fmt.Errorf("no container and no VM is called %q, and it is no address", to)
	}
	if from == to {
		return nil, fmt.Errorf("%s is both ends", from)
	}
	for _, a := range first {
		for _, b := range second {
			if a.leg.Network == b.leg.Network {
				a.Address, b.Address = a.leg.Address, b.leg.Address
				return &Path{Network: lab.Network(a.leg.Network), From: a, To: b}, nil
			}
		}
	}
	return nil, fmt.Errorf("%s and %s share no network", from, to)
}

// towards is a path to an address, which may be an endpoint's.
func towards(lab *inventory.Lab, first []End, address netip.Addr) (*Path, error) {
	for _, a := range first {
		network := lab.Network(a.leg.Network)
		for i, subnet := range network.Subnets() {
			if !subnet.Contains(address) {
				continue
			}
			a.Address = a.leg.Addresses()[i]
			if a.Address == address {
				return nil, fmt.Errorf("%s is %s's own address", address, a.Name)
			}
			path := &Path{Network: network, From: a, To: End{Name: address.String(), Address: address}}
			for _, end := range ends(lab) {
				if end.leg.Network == network.Name && (end.leg.Address == address || end.leg.Second == address) {
					end.Address = address
					path.To = end
				}
			}
			return path, nil
		}
	}
	return nil, fmt.Errorf("%s is in none of the subnets that %s is in", address, first[0].Name)
}

// legs are the ends of an endpoint, one a network.
func legs(lab *inventory.Lab, name string) (found []End) {
	for _, end := range ends(lab) {
		if end.Name == name {
			found = append(found, end)
		}
	}
	return found
}

// ends are all ends of lab.
func ends(lab *inventory.Lab) (all []End) {
	for _, c := range lab.Containers {
		for _, leg := range c.Interfaces {
			all = append(all, End{Name: c.Name, Host: c.Host, netns: c.Netns, leg: leg})
		}
	}
	for _, vm := range lab.VMs {
		guest := &hostapi.Guest{Domain: vm.Domain, Login: hostapi.Login(lab.Image(vm.Image).Login), Deadline: consoleDeadline}
		for _, leg := range vm.Interfaces {
			all = append(all, End{Name: vm.Name, Host: vm.Host, guest: guest, leg: leg})
		}
	}
	return all
}

// Hosts are those that the way leads over, each once.
func (p *Path) Hosts() []string {
	if p.To.Host == "" || p.To.Host == p.From.Host {
		return []string{p.From.Host}
	}
	return []string{p.From.Host, p.To.Host}
}

// Stand lays the way over what stands on its hosts.
func (p *Path) Stand(facts map[string]hostapi.Facts) {
	p.tunnel, p.device = map[string]hostapi.Link{}, map[string]string{}
	for host, f := range facts {
		for _, r := range f.Routes { // where no VTEP says better
			p.device[host] = cmp.Or(p.device[host], r.Device)
		}
		for _, l := range f.Links {
			if l.Name == p.Network.VXLAN && l.VXLAN != nil {
				p.tunnel[host] = l
				p.device[host] = cmp.Or(l.VXLAN.Device, p.device[host])
			}
		}
	}
	p.Hops = nil
	if p.From.netns != "" {
		p.Hops = append(p.Hops, Hop{p.From.Host, Inner, p.From.netns, p.From.leg.Inner, p.From.Name, true})
	}
	p.Hops = append(p.Hops, Hop{p.From.Host, Port, "", p.From.leg.Link, p.From.Name, false})
	if p.To.Host != p.From.Host {
		p.Hops = append(p.Hops, p.crossing(p.From.Host, true)...)
	}
	if p.To.Host == "" {
		return // whose it is, nobody knows
	}
	if p.To.Host != p.From.Host {
		p.Hops = append(p.Hops, p.crossing(p.To.Host, false)...)
	}
	p.Hops = append(p.Hops, Hop{p.To.Host, Port, "", p.To.leg.Link, p.To.Name, true})
	if p.To.netns != "" {
		p.Hops = append(p.Hops, Hop{p.To.Host, Inner, p.To.netns, p.To.leg.Inner, p.To.Name, false})
	}
}

// crossing are a host's hops between bridge and wire, in the order of the way out
// of it or into it.
func (p *Path) crossing(host string, out bool) []Hop {
	hops := []Hop{{Host: host, Kind: VTEP, Link: p.Network.VXLAN, out: out}}
	if device := p.device[host]; device != "" {
		under := Hop{Host: host, Kind: Underlay, Link: device, out: out}
		if out {
			return append(hops, under)
		}
		return append([]Hop{under}, hops...)
	}
	return hops
}

// Points are the hops of a host, as it is asked to listen at them, and their
// places on the way.
func (p *Path) Points(host string) (points []hostapi.CapturePoint, places []int) {
	for i, h := range p.Hops {
		if h.Host == host {
			points, places = append(points, hostapi.CapturePoint{Netns: h.Netns, Link: h.Link}), append(places, i)
		}
	}
	return points, places
}

// Want is which packets are listened for.
func (p *Path) Want() packets.Want {
	return packets.Want{Protocols: []string{"icmp", "arp"}, Addresses: []netip.Addr{p.From.Address, p.To.Address}}
}

// Probe is the ping, with a mark that tells it from others. A VM's ping cannot
// bear one.
func (p *Path) Probe(mark []byte) hostapi.Probe {
	probe := hostapi.Probe{Netns: p.From.netns, Guest: p.From.guest, Target: p.To.Address, Tries: 1}
	if probe.Guest == nil {
		probe.Mark = mark
	}
	return probe
}
