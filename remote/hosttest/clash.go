package hosttest

import (
	"net/netip"
	"slices"

	"vxorch/remote/hostapi"
)

// PlantHolder has a process hold a UDP port.
func (m *Machine) PlantHolder(h hostapi.PortHolder) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.holders = append(m.holders, h)
}

// PlantRoute adds a route that is no link's own; r.Subnet does not count.
func (m *Machine) PlantRoute(r hostapi.HostRoute) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.routes = append(m.routes, r)
}

// clashes gives the holders of ports and the routes that overlap subnets: those
// that were planted and those of addresses on links without a mark.
func (m *Machine) clashes(ports []int, subnets []netip.Prefix) (holders []hostapi.PortHolder, overlaps []hostapi.HostRoute) {
	for _, h := range m.holders {
		if slices.Contains(ports, h.Port) {
			holders = append(holders, h)
		}
	}
	routes := slices.Clone(m.routes)
	for _, l := range m.links {
		if l.Mark != nil || l.Name == "lo" {
			continue
		}
		for _, p := range l.prefixes() {
			routes = append(routes, hostapi.HostRoute{Prefix: p.Masked(), Device: l.Name})
		}
	}
	for _, subnet := range subnets {
		for _, r := range routes {
			if r.Prefix.Overlaps(subnet) {
				r.Subnet = subnet
				overlaps = append(overlaps, r)
			}
		}
	}
	return holders, overlaps
}
