package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// maxUnicastHosts is up to how many hosts flood: auto has each frame copied to
// all the others. A frame costs its sender 2 to 3 µs a copy, and every host that
// joins or leaves changes all the others' lists either way.
const maxUnicastHosts = 50

// settleFlood decides how BUM frames reach the other hosts, and says why where
// the inventory leaves it open.
func (d *deployment) settleFlood(network inventory.Network) (mode inventory.Flood, why string) {
	if network.Flood != inventory.FloodAuto {
		return network.Flood, ""
	}
	if standing := standingFlood(network, d.lab.Name, d.facts); standing != "" {
		return standing, "it stands so on every host"
	}
	hosts := len(d.lab.Hosts)
	switch passes, tried := d.inputs.Multicast[network.Name]; {
	case passes:
		return inventory.FloodMulticast, "multicast passes between all hosts"
	case hosts <= maxUnicastHosts && tried:
		return inventory.FloodUnicast, "multicast does not pass between all hosts"
	case hosts <= maxUnicastHosts:
		return inventory.FloodUnicast, "it is not known whether multicast passes between all hosts"
	}
	return inventory.FloodStatic, fmt.Sprintf("multicast does not pass between all hosts, and there are more than %d of them", maxUnicastHosts)
}

// MulticastQuestions lists the networks of which the plan has to know whether
// multicast passes between the hosts that facts were gathered from.
func MulticastQuestions(lab *inventory.Lab, facts map[string]hostapi.Facts) []inventory.Network {
	var open []inventory.Network
	for _, network := range lab.Networks {
		if network.Flood == inventory.FloodAuto && len(facts) > 0 && standingFlood(network, lab.Name, facts) == "" {
			open = append(open, network)
		}
	}
	return open
}

// standingFlood is the mode of the lab's VTEPs where every host has one of the
// same mode; else empty.
func standingFlood(network inventory.Network, lab string, facts map[string]hostapi.Facts) inventory.Flood {
	var mode inventory.Flood
	for _, seen := range facts {
		vtep := findLink(seen, network.VXLAN)
		if vtep == nil || vtep.VXLAN == nil || vtep.Mark == nil || vtep.Mark.Lab != lab {
			return ""
		}
		this := inventory.FloodUnicast
		switch {
		case vtep.VXLAN.Group.IsValid():
			this = inventory.FloodMulticast
		case !vtep.VXLAN.Learning:
			this = inventory.FloodStatic
		}
		if mode != "" && mode != this {
			return ""
		}
		mode = this
	}
	return mode
}

// forwarding is what a host's VTEP is to know of the others.
func (d *deployment) forwarding(host string, network settledNetwork) hostapi.Forwarding {
	f := hostapi.Forwarding{VTEP: network.VXLAN}
	switch network.Flood {
	case inventory.FloodUnicast:
		for _, other := range d.lab.Hosts {
			if end, known := d.tunnelEnd(other.Name); known && other.Name != host {
				f.Flood = append(f.Flood, end)
			}
		}
	case inventory.FloodStatic:
		f.Bridge = network.Name
		f.Remotes = slices.DeleteFunc(slices.Clone(network.endpoints), func(r hostapi.Remote) bool { return r.Via == d.underlays[host].local })
	}
	return f
}

// endpoints lists where everything of a static network is, the bridges with the
// addresses of the VTEP proof among them, in the order of MAC addresses. All
// hosts get the same table, each without what is its own.
func (d *deployment) endpoints(network inventory.Network) []hostapi.Remote {
	var all []hostapi.Remote
	add := func(host, mac string, addresses ...netip.Addr) {
		if end, known := d.tunnelEnd(host); known {
			all = append(all, hostapi.Remote{MAC: mac, Addresses: addresses, Via: end})
		}
	}
	addLegs := func(host string, legs []inventory.Interface) {
		for _, leg := range legs {
			if leg.Network == network.Name {
				add(host, leg.MAC, leg.Addresses()...)
			}
		}
	}
	for _, host := range d.lab.Hosts {
		add(host.Name, inventory.DeriveMAC(d.lab.Name, "bridge", network.Name, host.Name), network.VTEPs[host.Name])
	}
	for _, c := range d.lab.Containers {
		addLegs(c.Host, c.Interfaces)
	}
	for _, vm := range d.lab.VMs {
		addLegs(vm.Host, vm.Interfaces)
	}
	slices.SortFunc(all, func(a, b hostapi.Remote) int { return cmp.Compare(a.MAC, b.MAC) })
	return all
}

// tunnelEnd is a host's tunnel address; of a host that is not at hand the last
// that was known, so that the others go on sending to it.
func (d *deployment) tunnelEnd(host string) (end netip.Addr, known bool) {
	u, known := d.ground(host)
	return u.local, known
}

// ground is what carries a host's tunnels, at hand or as last known.
func (d *deployment) ground(host string) (u underlay, known bool) {
	if u, known = d.underlays[host]; !known {
		u, known = d.standIns[host]
	}
	return u, known
}

// told plans what makes a host's VTEP know the others, nil if it does. Where VTEP
// or bridge change, the kernel may have dropped what was told: then it is told
// anew.
func (d *deployment) told(host string, network settledNetwork, seen *hostapi.Link, changing, anew bool) *hostapi.Step {
	want := d.forwarding(host, network)
	var before hostapi.ForwardingFacts
	if !anew && seen != nil && seen.VXLAN != nil {
		before = seen.VXLAN.Forwarding
	}
	s := hostapi.Step{Op: hostapi.Update, Changes: want.Diff(before), Forwarding: &want}
	switch frr := d.facts[host].FRR; {
	case byBGP(network) && frr != nil && frr.Mark != nil && frr.Runs(hostapi.Zebra):
		return nil // the entries are its own
	case byBGP(network) && len(s.Changes) > 0:
		// What another mode or a zebra that was killed has left would stay for ever.
	case len(s.Changes) > 0 && before.Digest == "":
		s.Op, s.Changes = hostapi.Create, nil
	case len(s.Changes) > 0, changing && len(want.Remotes) > 0:
	default:
		return nil
	}
	return &s
}
