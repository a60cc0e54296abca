package diagnose

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// leaking tells of a probe whose network another one's frames come into: they lead
// replies and what bridges learn astray.
func (d *doctor) leaking(p path) *report.Finding {
	for _, q := range d.probes {
		if q.Leaked() && (q.Network == p.Network || q.ToNetwork == p.Network) {
			return d.leak(q)
		}
	}
	return nil
}

// leak looks for where two networks meet, on all hosts: at a VTEP that belongs to
// the other, at a port in the wrong bridge, and else along the way that the answer
// came by.
func (d *doctor) leak(p report.Probe) *report.Finding {
	l := leak{Probe: p, networks: [2]inventory.Network{d.lab.Network(p.Network), d.lab.Network(p.ToNetwork)}}
	l.macs = [2]string{askerMAC(d.lab, p), macOf(d.lab, p.To, p.ToNetwork)}
	for _, host := range slices.Sorted(maps.Keys(d.Facts)) {
		found := d.strayVTEP(l, host)
		if found == nil {
			found = d.strayPort(l, host)
		}
		if found == nil {
			found = d.joined(l, host)
		}
		if found != nil {
			found.Host, found.Probes = host, []int{}
			return found
		}
	}
	found := d.answered(l)
	found.Probes = []int{}
	return found
}

// leak is a probe that was answered from another network.
type leak struct {
	report.Probe
	networks [2]inventory.Network // the asker's, the answerer's
	macs     [2]string            // the asker's in its network, the answerer's in its
}

// across are both networks, each with the other.
func (l leak) across() [2][2]inventory.Network {
	return [2][2]inventory.Network{l.networks, {l.networks[1], l.networks[0]}}
}

// strayVTEP looks for a link that carries one network's VNI into the other's bridge.
func (d *doctor) strayVTEP(l leak, host string) *report.Finding {
	for _, n := range l.across() {
		ours, other := n[0], n[1]
		for _, v := range d.Facts[host].Links {
			switch {
			case v.VXLAN == nil || v.VXLAN.VNI != other.VNI || v.VXLAN.Port != other.Port || v.Name == other.VXLAN:
			case v.Name == ours.VXLAN && v.Up:
				return d.vtepFinding(ours, host)
			case v.Master == ours.Name:
				return &report.Finding{
					Layer: LayerBridge, Cause: fmt.Sprintf("%s brings network %s into bridge %s", v.Name, other.Name, ours.Name),
					Proof: fmt.Sprintf("it is a port of bridge %s and has VNI %d, which is %s's", ours.Name, other.VNI, other.Name),
					Mend:  fmt.Sprintf("ip link set %s nomaster", v.Name),
				}
			}
		}
	}
	return nil
}

func (d *doctor) vtepFinding(n inventory.Network, host string) *report.Finding {
	found := d.vtep(n, host)
	if found != nil {
		found.Layer = LayerVTEP
	}
	return found
}

// strayPort looks for a port of one network in the other's bridge.
func (d *doctor) strayPort(l leak, host string) *report.Finding {
	for _, n := range l.across() {
		ours, other := n[0], n[1]
		for _, port := range d.ports(ours, host) {
			if seen := d.link(host, port); seen != nil && seen.Master == other.Name {
				return &report.Finding{
					Layer: LayerBridge, Cause: fmt.Sprintf("%s is not a port of bridge %s", port, ours.Name), Proof: "its master is " + seen.Master,
					Mend: fmt.Sprintf("ip link set %s master %s", port, ours.Name),
				}
			}
		}
	}
	return nil
}

// ports are the lab's ports of a network's bridge on a host.
func (d *doctor) ports(n inventory.Network, host string) []string {
	ports := []string{n.VXLAN}
	d.legs(path{Probe: report.Probe{Network: n.Name}}, func(e end) {
		if e.host == host {
			ports = append(ports, e.leg.Link)
		}
	})
	return ports
}

// joined looks for a port that is nobody's of the lab and behind which a bridge has
// learned an end of the other network.
func (d *doctor) joined(l leak, host string) *report.Finding {
	known := slices.Concat(d.ports(l.networks[0], host), d.ports(l.networks[1], host))
	for i, n := range l.across() {
		ours, other := n[0], n[1]
		name, mac := []string{l.To, l.From}[i], l.macs[1-i] // of the other network
		for _, e := range d.After[host].Entries {
			if e.MAC != mac || e.Via.IsValid() || slices.Contains(known, e.Link) || d.standsOn(host, name) {
				continue
			}
			return &report.Finding{
				Layer: LayerBridge, Cause: fmt.Sprintf("bridges %s and %s are joined by %s", l.networks[0].Name, l.networks[1].Name, e.Link),
				Proof: fmt.Sprintf("bridge %s has learned MAC %s of %s, which is in %s, at port %s, which is not the lab's", ours.Name, mac, name, other.Name, e.Link),
				Mend:  fmt.Sprintf("ip link set %s nomaster", e.Link),
			}
		}
	}
	return nil
}

// standsOn tells whether a VM stands on a host: its tap has the name that libvirt
// chose.
func (d *doctor) standsOn(host, name string) bool {
	return slices.ContainsFunc(d.lab.VMs, func(vm inventory.VM) bool { return vm.Name == name && vm.Host == host })
}

// answered is what is known for sure where nothing shows the place: which way the
// answer came.
func (d *doctor) answered(l leak) *report.Finding {
	found := &report.Finding{
		Layer: LayerIsolation, Host: l.FromHost,
		Cause: fmt.Sprintf("networks %s and %s are one segment", l.Network, l.ToNetwork),
		Proof: fmt.Sprintf("asked in %s who has %s, %s of %s answers with its MAC %s", l.Network, l.Address, l.To, l.ToNetwork, l.macs[1]),
		Mend:  fmt.Sprintf("bridge fdb show br %s shows where %s comes in", l.Network, l.macs[1]),
	}
	at := slices.IndexFunc(d.After[l.FromHost].Entries, func(e hostapi.FDBEntry) bool {
		return e.MAC == l.macs[1] && e.Link == l.networks[0].VXLAN && e.Via.IsValid()
	})
	if at >= 0 {
		found.Proof += fmt.Sprintf(", from tunnel end %s", whose(d.After[l.FromHost].Entries[at].Via, d))
	}
	return found
}

func whose(local netip.Addr, d *doctor) string {
	if host := d.hostOf(local, ""); host != "" {
		return fmt.Sprintf("%s of %s", local, host)
	}
	return local.String()
}

// askerMAC is the MAC that a probe of isolation was asked with: a container's, or in
// the name of a VM its bridge's.
func askerMAC(lab *inventory.Lab, p report.Probe) string {
	if slices.ContainsFunc(lab.VMs, func(vm inventory.VM) bool { return vm.Name == p.From }) {
		return inventory.DeriveMAC(lab.Name, "bridge", p.Network, p.FromHost)
	}
	return macOf(lab, p.From, p.Network)
}

// macOf is a workload's MAC in a network.
func macOf(lab *inventory.Lab, name, network string) (mac string) {
	d := doctor{lab: lab}
	d.legs(path{Probe: report.Probe{Network: network}}, func(e end) {
		if e.name == name {
			mac = e.leg.MAC
		}
	})
	return mac
}
