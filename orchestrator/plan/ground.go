package plan

import (
	"net/netip"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// Ground is what a lab is to stand on, as far as the hosts settle it.
type Ground struct {
	Underlays map[string]Underlay // by host; none of one that does not settle it
	Networks  []inventory.Network // with Flood, MTU and Group settled; empty while an underlay is not
}

// Underlay is what carries a host's tunnels.
type Underlay struct {
	Device string
	Local  netip.Addr // tunnel address
	MTU    int        // bytes
}

// Overhead is what the tunnel adds to a frame's payload, in bytes.
func (u Underlay) Overhead() int {
	if u.Local.Is6() {
		return overheadIPv6
	}
	return overheadIPv4
}

// Survey gives the ground of lab on the hosts that facts were gathered from. Why
// something is not settled, Deploy tells.
func Survey(lab *inventory.Lab, facts map[string]hostapi.Facts, in Inputs) Ground {
	g := Ground{}
	d := newDeployment(lab, facts, in)
	if len(d.hosts) == 0 {
		return g
	}
	d.settle()
	g.Underlays = d.grounds()
	for _, n := range d.networks {
		network := n.Network
		network.MTU, network.Group = n.mtu, n.group
		g.Networks = append(g.Networks, network)
	}
	return g
}

// grounds is what carries the tunnels of the hosts at hand.
func (d *deployment) grounds() map[string]Underlay {
	all := map[string]Underlay{}
	for host, u := range d.underlays {
		all[host] = Underlay{u.device, u.local, u.mtu}
	}
	return all
}

// Told gives what each host's VTEPs are to know of the others, by host and
// network. Of a lab that is not settled it gives nothing.
func Told(lab *inventory.Lab, facts map[string]hostapi.Facts, in Inputs) map[string]map[string]hostapi.Forwarding {
	d := newDeployment(lab, facts, in)
	if len(d.hosts) == 0 {
		return nil
	}
	d.settle()
	out := map[string]map[string]hostapi.Forwarding{}
	for _, host := range d.hosts {
		out[host] = map[string]hostapi.Forwarding{}
		for _, n := range d.networks {
			out[host][n.Name] = d.forwarding(host, n)
		}
	}
	return out
}
