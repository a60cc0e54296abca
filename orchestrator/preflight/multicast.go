package preflight

import (
	"fmt"
	"strings"

	"vxorch/inventory"
)

// multicast judges who heard whom by each group. Ways that let nothing through
// have their finding already.
func (j *judge) multicast() {
	closed := map[pair]bool{}
	for _, a := range j.Try.Attempts {
		if a.To != "" && a.Size == 0 && !a.Plain && j.Came.fate(a.ID, a.To) != delivered {
			closed[pair{a.From, a.To}] = true
		}
	}
	for _, g := range groups(j.Ground) {
		var all []pair
		bad, stops := map[pair]bool{}, map[pair]bool{}
		for _, a := range j.Try.Attempts {
			if a.To != "" || a.Datagram.To != g.address || a.Port != g.port || !j.takesPart(a.From) {
				continue
			}
			for _, to := range j.hosts {
				p := pair{a.From, to}
				if to == a.From || !j.takesPart(to) || closed[p] {
					continue
				}
				all = append(all, p)
				switch j.Came.fate(a.ID, to) {
				case lost, unsent:
					bad[p] = true
				case stopped:
					stops[p] = true
				}
			}
		}
		j.group(g, all, bad, stops)
	}
}

func (j *judge) group(g group, all []pair, bad, stops map[pair]bool) {
	what := fmt.Sprintf("multicast to %s, UDP port %d", g.address, g.port)
	ip, iptables := "ip", "iptables"
	if g.address.Is6() {
		ip, iptables = "ip6", "ip6tables"
	}
	for _, b := range among(stops, all, to) {
		j.error("firewall", b.host, fmt.Sprintf("its own firewall drops %s, on the way in", what),
			fmt.Sprintf("datagrams of %s come in at %s and are not delivered", names(b.others), j.Ground.Underlays[b.host].Device),
			fmt.Sprintf("nft insert rule inet filter input %s daddr %s accept; or %s -I INPUT -d %s -j ACCEPT", ip, g.address, iptables, g.address))
	}
	if len(bad) > 0 && len(bad) == len(all) {
		j.error("multicast", "", "the underlay carries no multicast", fmt.Sprintf("%s, was sent by each host and heard by none%s", what, j.clouds()),
			fmt.Sprintf("set %s to unicast or auto, or have the network between the hosts carry it: an IGMP querier where switches snoop, no filter",
				j.floods(g)))
		return
	}
	for _, b := range among(bad, all, either) {
		j.error("multicast", b.host, what+", "+b.between(), "unicast passes, and other hosts hear the group",
			fmt.Sprintf("look at IGMP snooping on its switch port and at filters for multicast on its way, or set %s to unicast or auto", j.floods(g)))
	}
}

// floods names the settings of the networks that use a group.
func (j *judge) floods(g group) string {
	var all []string
	for _, n := range j.Ground.Networks {
		if n.Flood == inventory.FloodMulticast && n.Group == g.address && n.Port == g.port {
			all = append(all, "networks."+n.Name+".flood")
		}
	}
	return strings.Join(all, ", ")
}

// clouds says, as part of a proof, which hosts stand where multicast is known not
// to work.
func (j *judge) clouds() string {
	for _, host := range j.hosts {
		for prefix, says := range map[string]string{
			"Amazon EC2":            "Amazon EC2, where only a Transit Gateway's multicast domain carries it",
			"Google":                "Google Cloud, where only a managed service carries it",
			"Microsoft Corporation": "a Microsoft hypervisor; Azure carries none",
		} {
			if strings.HasPrefix(j.Seen[host].Check.Vendor, prefix) {
				return fmt.Sprintf("; %s runs on %s", host, says)
			}
		}
	}
	return ""
}
