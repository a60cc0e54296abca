package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const redeploy = "vxorch deploy"

// endpoints looks at the workloads themselves.
func (d *doctor) endpoints(p path) *report.Finding {
	for _, ends := range p.ends() {
		e := ends[0]
		var found *report.Finding
		switch {
		case e.name == "" || !d.seen(e.host):
		case e.vm != nil:
			found = d.guest(e)
		default:
			found = d.container(p, e)
		}
		if found != nil {
			found.Layer, found.Host = LayerEndpoint, e.host
			if e.vm != nil {
				found.Layer = LayerGuest
			}
			return found
		}
	}
	return d.duplicate(p)
}

// container looks at a container and its veth.
func (d *doctor) container(p path, e end) *report.Finding {
	inner, outer := d.inner(e), d.link(e.host, e.leg.Link)
	switch {
	case inner == nil:
		return &report.Finding{
			Cause: fmt.Sprintf("container %s has no %s", e.name, e.leg.Inner), Proof: fmt.Sprintf("there is no %s of the lab's in namespace %s", e.leg.Inner, e.nets), Mend: redeploy,
		}
	case !inner.Up:
		return &report.Finding{
			Cause: fmt.Sprintf("%s of container %s is down", inner.Name, e.name), Proof: fmt.Sprintf("ip -n %s link show %s: it is not up", e.nets, inner.Name),
			Mend: fmt.Sprintf("ip -n %s link set %s up", e.nets, inner.Name),
		}
	case outer == nil || !outer.Up:
		return &report.Finding{
			Cause: fmt.Sprintf("the outer end of container %s is down", e.name), Proof: fmt.Sprintf("ip link show %s: it is not up", e.leg.Link), Mend: "ip link set " + e.leg.Link + " up",
		}
	}
	if other := d.whoseMAC(p, e, inner.MAC); other != "" {
		return &report.Finding{
			Cause: fmt.Sprintf("container %s has the MAC of %s", e.name, other), Proof: fmt.Sprintf("its %s has MAC %s, not %s", inner.Name, inner.MAC, e.leg.MAC),
			Mend: fmt.Sprintf("ip -n %s link set %s address %s", e.nets, inner.Name, e.leg.MAC),
		}
	}
	for _, want := range p.network.Prefixes(e.leg) {
		if want.Addr().Is6() != p.six() || slices.Contains(inner.Addresses, want) {
			continue
		}
		return &report.Finding{
			Cause: fmt.Sprintf("container %s does not have its address", e.name), Proof: fmt.Sprintf("its %s has %s, not %s", inner.Name, listed(inner.Addresses), want),
			Mend: fmt.Sprintf("ip -n %s addr add %s dev %s", e.nets, want, inner.Name),
		}
	}
	return nil
}

// inner is the inner end of a container's leg; nil: it is not there.
func (d *doctor) inner(e end) *hostapi.Link {
	for _, n := range d.Facts[e.host].Namespaces {
		if n.Name != e.nets {
			continue
		}
		for i := range n.Links {
			if n.Links[i].Name == e.leg.Inner {
				return &n.Links[i]
			}
		}
	}
	return nil
}

func listed(prefixes []netip.Prefix) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	if len(words) == 0 {
		return "no address"
	}
	return strings.Join(words, ", ")
}

// legs calls f for every leg in the network of p.
func (d *doctor) legs(p path, f func(e end)) {
	for _, c := range d.lab.Containers {
		for _, leg := range c.Interfaces {
			if leg.Network == p.Network {
				f(end{host: c.Host, name: c.Name, nets: c.Netns, leg: leg})
			}
		}
	}
	for i, vm := range d.lab.VMs {
		for _, leg := range vm.Interfaces {
			if leg.Network == p.Network {
				f(end{host: vm.Host, name: vm.Name, vm: &d.lab.VMs[i], leg: leg})
			}
		}
	}
}

// whoseMAC names the workload of the network to whom the MAC belongs, if not to e.
func (d *doctor) whoseMAC(p path, e end, mac string) (name string) {
	if mac == e.leg.MAC {
		return ""
	}
	d.legs(p, func(other end) {
		if other.leg.MAC == mac {
			name = other.name
		}
	})
	return name
}

// duplicate looks for another container that has an end's MAC or address.
func (d *doctor) duplicate(p path) (found *report.Finding) {
	d.legs(p, func(other end) {
		if found != nil || other.vm != nil || !d.seen(other.host) {
			return
		}
		inner := d.inner(other)
		if inner == nil || !inner.Up {
			return
		}
		for _, ends := range p.ends() {
			e := ends[0]
			if e.name == "" || e.name == other.name {
				continue
			}
			has := slices.IndexFunc(inner.Addresses, func(a netip.Prefix) bool { return slices.Contains(e.leg.Addresses(), a.Addr()) })
			switch {
			case inner.MAC == e.leg.MAC:
				found = &report.Finding{
					Cause: fmt.Sprintf("container %s has the MAC of %s", other.name, e.name), Proof: fmt.Sprintf("its %s has MAC %s, not %s", inner.Name, inner.MAC, other.leg.MAC),
					Mend: fmt.Sprintf("ip -n %s link set %s address %s", other.nets, inner.Name, other.leg.MAC),
				}
			case has >= 0:
				found = &report.Finding{
					Cause: fmt.Sprintf("container %s has the address of %s", other.name, e.name), Proof: fmt.Sprintf("its %s has %s", inner.Name, listed(inner.Addresses)),
					Mend: fmt.Sprintf("ip -n %s addr del %s dev %s", other.nets, inner.Addresses[has], inner.Name),
				}
			default:
				continue
			}
			found.Layer, found.Host = LayerEndpoint, other.host
			return
		}
	})
	return found
}

// addressTaken looks at whom the sender takes for the target.
func (d *doctor) addressTaken(p path) *report.Finding {
	target, err := netip.ParseAddr(p.Address)
	if err != nil || p.to.name == "" || p.from.nets == "" {
		return nil
	}
	after := d.After[p.from.host]
	i := slices.IndexFunc(after.Neighbours, func(n hostapi.Neighbour) bool { return n.Netns == p.from.nets && n.Address == target })
	if i < 0 {
		return nil
	}
	mac := after.Neighbours[i].MAC
	if mac == "" || mac == p.to.leg.MAC {
		return nil
	}
	if inner := d.inner(p.to); inner != nil && inner.MAC == mac {
		return nil
	}
	where, host := "", p.from.host
	for _, e := range after.Entries {
		switch {
		case e.MAC != mac:
		case e.Via.IsValid():
			host = d.hostOf(e.Via, host)
			where = fmt.Sprintf(", behind tunnel end %s", e.Via)
		case e.Link != p.network.VXLAN:
			where = fmt.Sprintf(", at port %s of %s", e.Link, p.network.Name)
		}
	}
	return &report.Finding{
		Layer: LayerEndpoint, Host: host, Cause: fmt.Sprintf("somebody else has the address of %s", p.to.name),
		Proof: fmt.Sprintf("to %s, %s is at MAC %s%s; %s has %s", p.from.name, p.Address, mac, where, p.to.name, p.to.leg.MAC),
		Mend:  fmt.Sprintf("take %s away from whoever has MAC %s, or set another subnet for %s", p.Address, mac, p.network.Name),
	}
}

// hostOf names the host with that tunnel end.
func (d *doctor) hostOf(local netip.Addr, otherwise string) string {
	for host, u := range d.Ground.Underlays {
		if u.Local == local {
			return host
		}
	}
	return otherwise
}
