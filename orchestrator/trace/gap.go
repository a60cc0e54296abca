package trace

import "fmt"

// gap is why a packet, what it is, was seen at one hop and not at the next one.
func (p *Path) gap(e Evidence, what string, at, to Hop, next int, seen Sighting) (reason, hint string) {
	verb := "came in at"
	if at.out == (next > seen.Hop) {
		verb = "left"
	}
	begin := fmt.Sprintf("%s %s's %s, ", verb, owner(at), at.Link)
	if err := e.Errors[next]; err != nil {
		return begin + fmt.Sprintf("and %s's %s is not there: %s", owner(to), to.Link, err.Message), "vxorch status says what stands, vxorch deploy mends it"
	}
	switch {
	case at.Kind == Underlay && to.Kind == Underlay:
		hint := fmt.Sprintf("look at what is between the hosts, and at packet filters of %s on the way out; vxorch check tries it", at.Host)
		if t := seen.Tunnel; t != nil && t.To.IsMulticast() {
			hint = fmt.Sprintf("does the underlay carry multicast to %s? vxorch check tries it", t.To)
		} else if t != nil {
			if far, ok := p.tunnel[to.Host]; ok && far.VXLAN.Local.IsValid() && far.VXLAN.Local != t.To {
				hint = fmt.Sprintf("it was sent to %s, and %s's tunnel address is %s: a wrong forwarding entry on %s", t.To, to.Host, far.VXLAN.Local, at.Host)
			}
		}
		return begin + fmt.Sprintf("never arrived at %s's %s: the underlay", to.Host, to.Link), hint
	case at.Kind == Underlay:
		return begin + fmt.Sprintf("never came out of its %s: the tunnel's end", to.Link), p.decapsulation(to.Host, seen)
	case to.Kind == Underlay:
		return begin + fmt.Sprintf("never left its %s: the tunnel's beginning", to.Link), p.encapsulation(at, what, next > seen.Hop)
	case at.Kind == Inner || to.Kind == Inner:
		return begin + fmt.Sprintf("never came through to %s's %s: the veth pair", owner(to), to.Link), "is one of its ends down, or does the container's own packet filter drop it?"
	}
	return begin + fmt.Sprintf("never came to %s: bridge %s", to.Link, p.Network.Name), p.bridging(at, to)
}

// bridging is what may keep a frame from passing a host's bridge.
func (p *Path) bridging(at, to Hop) string {
	port := to.Link // of the two the one of a workload is to blame more often
	if at.Kind == Port {
		port = at.Link
	}
	if vtep, ok := p.tunnel[at.Host]; ok && (at.Kind == VTEP || to.Kind == VTEP) {
		switch {
		case !vtep.Up:
			return fmt.Sprintf("%s is down: ip link set %s up", vtep.Name, vtep.Name)
		case vtep.Master != p.Network.Name:
			return fmt.Sprintf("%s is no port of %s: vxorch deploy", vtep.Name, p.Network.Name)
		}
	}
	return fmt.Sprintf("is %s a port of it, and up at both its ends (bridge link)? does a packet filter drop bridged frames (nft list ruleset)?", port)
}

// owner is whose a hop's link is.
func owner(h Hop) string {
	if h.Kind == Inner {
		return h.Of
	}
	return h.Host
}

// encapsulation is what may keep a VTEP from sending a packet to the other host. A
// question goes to whom the VTEP floods, and to nobody where its bridge is to answer.
func (p *Path) encapsulation(at Hop, what string, forth bool) string {
	vtep, ok := p.tunnel[at.Host]
	far := p.tunnel[p.From.Host]
	if forth {
		far = p.tunnel[p.To.Host]
	}
	switch {
	case !ok || what != whatAsk:
	case vtep.Suppress:
		return fmt.Sprintf("bridge %s is to answer it, instead of %s: does it know the address (ip neigh show dev %s) and the MAC's port (bridge fdb show br %s)? vxorch status compares them with the plan",
			p.Network.Name, vtep.Name, p.Network.Name, p.Network.Name)
	case !vtep.VXLAN.Group.IsValid() && far.VXLAN != nil:
		return fmt.Sprintf("bridge fdb show dev %s: does its flood list, of 00:00:00:00:00:00, have %s? nft list ruleset: may it leave?", at.Link, far.VXLAN.Local)
	}
	return fmt.Sprintf("bridge fdb show dev %s: does it know where to send it? nft list ruleset: may it leave?", at.Link)
}

// decapsulation is what may keep a host from taking a tunnel's packet.
func (p *Path) decapsulation(host string, seen Sighting) string {
	vtep, ok := p.tunnel[host]
	t := seen.Tunnel
	switch {
	case !ok || t == nil:
	case vtep.VXLAN.Port != t.Port:
		return fmt.Sprintf("it came to UDP port %d, and %s listens on %d: vxorch deploy", t.Port, vtep.Name, vtep.VXLAN.Port)
	case vtep.VXLAN.VNI != t.VNI:
		return fmt.Sprintf("it bears VNI %d, and %s has %d: vxorch deploy", t.VNI, vtep.Name, vtep.VXLAN.VNI)
	case !vtep.Up:
		return fmt.Sprintf("%s is down: ip link set %s up", vtep.Name, vtep.Name)
	}
	port := p.Network.Port
	if t != nil {
		port = t.Port
	}
	if t != nil && t.To.Is6() {
		return fmt.Sprintf("does %s's own packet filter drop UDP to port %d? nft list ruleset; ip6tables -S INPUT", host, port)
	}
	return fmt.Sprintf("does %s's own packet filter, or rp_filter, drop UDP to port %d? nft list ruleset; iptables -S INPUT", host, port)
}
