package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"vxorch/remote/hostapi"
)

// refuseClashes finds what only shows when the lab is built, or never: a UDP port
// that cannot be shared, and a subnet whose addresses lead elsewhere on a host.
func (d *deployment) refuseClashes(host string) {
	facts := d.facts[host]
	reported := map[int]bool{}
	for _, network := range d.networks {
		if !reported[network.Port] {
			reported[network.Port] = true
			d.refusePort(host, network)
		}
		for _, r := range facts.Overlaps {
			if slices.Contains(network.Subnets(), r.Subnet) && Misleads(r) {
				d.problems = append(d.problems, &Problem{
					host, fmt.Sprintf("subnet %s of network %s overlaps the host's route to %s", r.Subnet, network.Name, Way(r)),
					fmt.Sprintf("give network %s a subnet that no host uses", network.Name),
				})
			}
		}
	}
}

// refusePort finds who keeps the network's VTEP off its port.
func (d *deployment) refusePort(host string, network settledNetwork) {
	for _, h := range d.facts[host].Holders {
		if h.Port == network.Port && h.Address.Is6() == d.underlays[host].local.Is6() || h.Port == network.Port && h.Address == netip.IPv6Unspecified() {
			d.problems = append(d.problems, &Problem{
				host, fmt.Sprintf("udp port %d of network %s is held by %s", h.Port, network.Name, process(h)),
				fmt.Sprintf("give network %s another port, or stop that process: ss -lnpu 'sport = %d'", network.Name, h.Port),
			})
			return
		}
	}
	for _, l := range d.facts[host].Links {
		if l.VXLAN != nil && l.Up && l.VXLAN.Port == network.Port && l.VXLAN.Shares != "" && (l.Mark == nil || l.Mark.Lab != d.lab.Name) {
			d.problems = append(d.problems, &Problem{
				host, fmt.Sprintf("udp port %d of network %s cannot be shared with vxlan link %s (%s), which %s",
					network.Port, network.Name, l.Name, l.VXLAN.Shares, owner(l.Mark)),
				fmt.Sprintf("give network %s another port", network.Name),
			})
		}
	}
}

// process names a holder for people.
func process(h hostapi.PortHolder) string {
	if h.PID == 0 {
		return "a process at " + netip.AddrPortFrom(h.Address, uint16(h.Port)).String()
	}
	return fmt.Sprintf("process %s (pid %d) at %s", cmp.Or(h.Process, "?"), h.PID, netip.AddrPortFrom(h.Address, uint16(h.Port)))
}

// Misleads tells whether a route is in a subnet's way. One that is inside the
// subnet or as wide leads some of its addresses elsewhere; one that is wider and
// on a link of the host's means that its neighbours may have them. What is wider
// and behind a gateway, a company's 10.0.0.0/8 for instance, or leads nowhere,
// only loses to the subnet for as long as the VTEPs' proof takes.
func Misleads(r hostapi.HostRoute) bool {
	return r.Prefix.Bits() >= r.Subnet.Bits() || r.Device != "" && !r.Gateway.IsValid()
}

// Way says where a route leads, for people.
func Way(r hostapi.HostRoute) string {
	way := r.Prefix.String()
	if r.Gateway.IsValid() {
		way += " via " + r.Gateway.String()
	}
	if r.Device != "" {
		way += " on " + r.Device
	}
	return way
}
