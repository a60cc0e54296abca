package plan

import (
	"net/netip"
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

// raise plans a network's VTEPs and bridges on all hosts: into vteps what stands
// before the proof over them, with the proof, into build what comes after it.
func (d *deployment) raise(network settledNetwork, vteps *Phase, build Phase) Network {
	legs := map[string]tunnel{}
	changed := map[string]bool{}
	for _, host := range d.hosts {
		legs[host] = d.tunnel(host, network)
		changed[host] = legs[host].changed
		d.newTunnels[network.Name] = d.newTunnels[network.Name] || changed[host]
		vteps.Steps[host] = append(vteps.Steps[host], legs[host].raise...)
	}
	pairs := verify.VTEPs(network.Network, d.hosts, changed, d.inputs.Full)
	vteps.Probes = append(vteps.Probes, pairs...)
	settled := Network{Name: network.Name, MTU: network.mtu, Flood: string(network.Flood), Why: network.why}
	if network.group.IsValid() {
		settled.Group = network.group.String()
	}
	switch {
	case len(d.hosts) == 1 && len(d.lab.Hosts) > 1:
		settled.Unproved = "one host alone is at hand"
	case len(d.hosts) == 1:
		settled.Unproved = "there is one host only"
	case len(pairs) == 0:
		settled.Unproved = "nothing about them changes"
	}
	for _, host := range d.hosts {
		leg := legs[host]
		prefix := netip.PrefixFrom(network.VTEPs[host], network.Subnet.Bits())
		stale := false
		for _, name := range leg.carrying(prefix) {
			if name == leg.proveOn {
				stale = true
				continue
			}
			// Of two links with the address the kernel would take either.
			vteps.Steps[host] = append(vteps.Steps[host], hostapi.Step{Op: hostapi.Remove,
				Address: &hostapi.Address{Link: name, Prefix: prefix}})
		}
		if len(pairs) > 0 {
			vteps.Steps[host] = append(vteps.Steps[host], hostapi.Step{Op: hostapi.Create,
				Address: &hostapi.Address{Link: leg.proveOn, Prefix: prefix, Lifetime: proofLifetime}})
		}
		if len(pairs) > 0 || stale {
			build.Steps[host] = append(build.Steps[host], hostapi.Step{Op: hostapi.Remove,
				Address: &hostapi.Address{Link: leg.proveOn, Prefix: prefix}})
			if network.Flood == inventory.FloodStatic && prefix.Addr().Is4() {
				// With a link's last IPv4 address the kernel drops its neighbours
				// (fib_disable_ip in net/ipv4/fib_frontend.c).
				again := d.forwarding(host, network)
				build.Steps[host] = append(build.Steps[host], hostapi.Step{Op: hostapi.Update, Forwarding: &again})
			}
		}
		build.Steps[host] = append(build.Steps[host], leg.join...)
	}
	return settled
}

// tunnel is one host's leg of a network: VTEP and bridge.
type tunnel struct {
	raise   []hostapi.Step  // before the VTEP proof
	join    []hostapi.Step  // after it
	proveOn string          // the link that carries the temporary address
	seen    []*hostapi.Link // VTEP and bridge as observed; nil: not there
	changed bool            // VTEP or bridge; what the VTEP is told does not count
}

// carrying names the links on which the proof's address was left by a run that
// died.
func (t tunnel) carrying(prefix netip.Prefix) []string {
	var names []string
	for _, l := range t.seen {
		if l != nil && slices.Contains(l.Addresses, prefix) {
			names = append(names, l.Name)
		}
	}
	return names
}

// tunnel plans VTEP and bridge of a network on a host. A VTEP is proved while it
// stands alone; where it is a port already it is proved through its bridge, since
// an address on an enslaved VTEP answers nothing. One that learns nothing is made
// a port at once: what it is told of belongs to its bridge, too.
func (d *deployment) tunnel(host string, network settledNetwork) tunnel {
	facts := d.facts[host]
	u := d.underlays[host]
	static := network.Flood == inventory.FloodStatic || byBGP(network)
	bridge := hostapi.Bridge{
		Name: network.Name, For: network.Name, MTU: network.mtu,
		MAC: inventory.DeriveMAC(d.lab.Name, "bridge", network.Name, host),
	}
	vtep := hostapi.VTEP{
		Name: network.VXLAN, For: network.Name, VNI: network.VNI, Port: network.Port,
		Group: network.group, Local: u.local, Device: u.device, MTU: network.mtu,
		MAC: inventory.DeriveMAC(d.lab.Name, "vtep", network.Name, host), Static: static,
	}
	seenBridge, seenVTEP := findLink(facts, bridge.Name), findLink(facts, vtep.Name)
	bridged := step(seenBridge, bridge.Diff)
	newBridge := bridged.Op == hostapi.Create || bridged.Op == hostapi.Rebuild
	enslaved := static || !newBridge && seenVTEP != nil && seenVTEP.Master == bridge.Name
	if enslaved {
		vtep.Bridge = bridge.Name
	}
	raised := step(seenVTEP, vtep.Diff)
	if raised.Op == hostapi.Rebuild && !static {
		enslaved, vtep.Bridge = false, ""
	}

	t := tunnel{
		proveOn: vtep.Name, seen: []*hostapi.Link{seenVTEP, seenBridge}, changed: !enslaved || raised.Op != "" || bridged.Op != "",
	}
	if enslaved {
		t.proveOn = bridge.Name
	}
	if newBridge {
		d.newBridges[hostNetwork{host, network.Name}] = true
	}
	if bridged.Op != "" {
		bridged.Bridge = &bridge
	}
	if raised.Op != "" {
		raised.VTEP = &vtep
	}
	switch {
	case enslaved:
		// A bridge that is down proves nothing, and one that is new comes first.
		t.raise = present(bridged, raised)
	default:
		t.raise, t.join = present(raised), present(bridged)
		joined := vtep
		joined.Bridge = bridge.Name
		t.join = append(t.join, hostapi.Step{Op: hostapi.Update, VTEP: &joined,
			Changes: []hostapi.Change{{Property: "bridge", From: "none", To: bridge.Name}}})
	}
	anew := raised.Op == hostapi.Create || raised.Op == hostapi.Rebuild
	if told := d.told(host, network, seenVTEP, t.changed, anew); told != nil {
		t.raise = append(t.raise, *told)
	}
	return t
}

// present leaves out the steps that do nothing.
func present(steps ...hostapi.Step) []hostapi.Step {
	return slices.DeleteFunc(steps, func(s hostapi.Step) bool { return s.Op == "" })
}
