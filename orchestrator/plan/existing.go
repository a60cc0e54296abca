package plan

import (
	"fmt"
	"slices"
	"strings"

	"vxorch/remote/hostapi"
)

// families are those that bgpd can be told to give every neighbour by default.
var families = []string{"ipv4 unicast", "ipv4 multicast", "ipv4 vpn", "ipv4 labeled-unicast", "ipv4 flowspec", "ipv6 unicast", "ipv6 multicast", "ipv6 vpn", "ipv6 labeled-unicast", "ipv6 flowspec"}

// joined is what a host's own bgpd is to be told where evpn.frr is existing: the
// lab's part alone, every line of which bears the lab's name or is below one that
// does. Of the host's routes nothing is told, nor is anything heard for them. Who the
// sessions are with comes last, when all else is settled.
func (d *deployment) joined(host string, w hostapi.FRR, reflects bool) string {
	evpn := d.lab.EVPN
	reflectors, clients, filter := hostapi.BGPReflectors(d.lab.Name), hostapi.BGPClients(d.lab.Name), hostapi.BGPFilter(d.lab.Name)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, network := range d.networks {
		if byBGP(network) {
			line("bgp extcommunity-list standard %s permit rt %d:%d", filter, evpn.ASN&0xffff, network.VNI)
		}
	}
	line("route-map %s permit 1", filter)
	line(" match extcommunity %s", filter)
	line("exit")
	line("router bgp %d", evpn.ASN)
	groups := []string{reflectors}
	if reflects {
		groups = append(groups, clients)
	}
	for _, name := range groups {
		d.group(line, name, w)
	}
	for _, family := range families {
		line(" address-family %s", family)
		for _, name := range groups {
			line("  no neighbor %s activate", name)
		}
		line(" exit-address-family")
	}
	line(" address-family l2vpn evpn")
	for _, name := range groups {
		activate(line, name, filter)
	}
	if reflects {
		line("  neighbor %s route-reflector-client", clients)
	}
	line("  advertise-all-vni")
	line(" exit-address-family")
	d.members(line, host, reflectors)
	if reflects {
		for _, prefix := range d.clients(host) {
			line(" bgp listen range %s peer-group %s", prefix, clients)
		}
	}
	line("exit")
	return b.String()
}

// refuseJoin finds what keeps the lab's part out of a host's own FRR.
func (d *deployment) refuseJoin(host string, seen *hostapi.FRRFacts) *Problem {
	for _, name := range []string{hostapi.Zebra, hostapi.BGPD} {
		if !slices.ContainsFunc(seen.Others, func(p hostapi.Process) bool { return p.Name == name }) {
			return &Problem{
				host, fmt.Sprintf("it runs no %s of its own, which evpn.frr: existing is to use", name),
				"start it (bgpd=yes in /etc/frr/daemons, systemctl enable --now frr), or leave evpn.frr out",
			}
		}
	}
	if seen.Host == nil {
		return &Problem{host, "its own bgpd does not answer at /run/frr/bgpd.vty", "look whether it was started with other directories, or leave evpn.frr out"}
	}
	want := d.frr(host)
	if cause, hint := want.Clash(d.lab.Name, *seen.Host); cause != "" {
		return &Problem{host, cause, hint}
	}
	if want.Port == 0 {
		return nil
	}
	for _, other := range d.lab.Hosts {
		if end, known := d.tunnelEnd(other.Name); known && slices.Contains(seen.Host.Neighbors, end) {
			return &Problem{
				host, fmt.Sprintf("its own bgpd has a neighbour %s, which is the tunnel end of %s, and is to reflect for it", end, other.Name),
				"name other evpn.reflectors, or set hosts.NAME.vtep to addresses without sessions",
			}
		}
	}
	local, listens := d.underlays[host].local, seen.Host.ASN == 0 // or it begins with its first instance
	for _, l := range seen.Listeners {
		theirs := slices.ContainsFunc(seen.Others, func(p hostapi.Process) bool { return p.PID == l.PID && p.Name == hostapi.BGPD })
		ours := !seen.Existing && slices.ContainsFunc(seen.Daemons, func(p hostapi.Process) bool { return p.PID == l.PID }) // ends before it joins
		switch {
		case ours || !l.Address.IsUnspecified() && l.Address != local:
		case theirs:
			listens = true
		default:
			return portTaken(host, l)
		}
	}
	if listens {
		return nil
	}
	return &Problem{
		host, fmt.Sprintf("its own bgpd does not listen on tcp port %d of %s, as a reflector is to", want.Port, local),
		"set evpn.port to its port, name other evpn.reflectors, or look at bgpd_options in /etc/frr/daemons (-p, -l)",
	}
}

// existing tells whether the hosts' own FRR is to be used.
func (d *deployment) existing() bool { return d.lab.EVPN.Existing }
