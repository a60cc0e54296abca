package diagnose

import (
	"net/netip"
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const (
	// maxHosts is how many hosts are looked into: what is wrong with more shows on
	// those.
	maxHosts = 32
	// maxAgain is how many probes each host sends again.
	maxAgain = 64
)

// Hosts are those to look into: the ones at the ends of probes that failed, and the
// reflectors, by which others know each other. Where networks are not apart it may be
// the fault of any host.
func Hosts(lab *inventory.Lab, probes []report.Probe) []string {
	var hosts []string
	for _, p := range probes {
		if p.Lost() || p.Leaked() {
			hosts = append(hosts, p.FromHost, p.ToHost)
		}
	}
	if slices.ContainsFunc(probes, report.Probe.Leaked) {
		for _, h := range lab.Hosts {
			hosts = append(hosts, h.Name)
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	hosts = hosts[:min(len(hosts), maxHosts)]
	if lab.EVPN == nil || len(hosts) == 0 {
		return hosts
	}
	hosts = append(hosts, lab.EVPN.Reflectors...)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Request is what to read of a host that bears on the probes that failed, and on
// the MACs that the hosts' neighbours were seen to have.
func Request(lab *inventory.Lab, host string, probes []report.Probe, seen []hostapi.Neighbour) hostapi.InspectRequest {
	req := hostapi.InspectRequest{}
	for _, n := range lab.Networks {
		req.Links = append(req.Links, n.Name, n.VXLAN)
	}
	ends := map[string]bool{}
	for _, p := range probes {
		if !p.Leaked() && (!p.Lost() || p.FromHost != host && p.ToHost != host) {
			continue
		}
		ends[p.From], ends[p.To] = true, true
		if p.Leaked() {
			req.MACs = append(req.MACs, askerMAC(lab, p))
		}
		if a, err := netip.ParseAddr(p.Address); err == nil && !slices.Contains(req.Addresses, a) {
			req.Addresses = append(req.Addresses, a)
		}
	}
	legs := func(name, on string, legs []inventory.Interface) {
		for _, leg := range legs {
			if ends[name] {
				req.MACs = append(req.MACs, leg.MAC)
			}
			if on == host {
				req.Links = append(req.Links, leg.Link)
			}
		}
	}
	for _, c := range lab.Containers {
		legs(c.Name, c.Host, c.Interfaces)
		if c.Host == host && ends[c.Name] {
			req.Namespaces = append(req.Namespaces, c.Netns)
		}
	}
	for _, vm := range lab.VMs {
		legs(vm.Name, vm.Host, vm.Interfaces)
	}
	for _, n := range seen {
		if n.MAC != "" && !slices.Contains(req.MACs, n.MAC) {
			req.MACs = append(req.MACs, n.MAC)
		}
	}
	return req
}

// Again is what a host sends again, once each, with the indices of the probes: the
// pings that failed, but none through a guest's console, which takes too long, and no
// exchanges.
func Again(lab *inventory.Lab, host string, probes []report.Probe) (again []hostapi.Probe, indices []int) {
	for i, p := range probes {
		if !p.Lost() || p.FromHost != host || p.Stage == report.StageVTEP || p.OverTCP() || len(again) == maxAgain {
			continue
		}
		at := slices.IndexFunc(lab.Containers, func(c inventory.Container) bool { return c.Name == p.From })
		target, err := netip.ParseAddr(p.Address)
		if at < 0 || err != nil {
			continue
		}
		again = append(again, hostapi.Probe{Netns: lab.Containers[at].Netns, Target: target, Tries: 1, Whole: p.Kind == report.KindMTU})
		indices = append(indices, i)
	}
	return again, indices
}
