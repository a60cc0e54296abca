package preflight

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vxorch/remote/hostapi"
)

// fate is what became of a datagram on its way to one host.
type fate int

const (
	lost      fate = iota // between the hosts
	unsent                // its sender did not let it out
	stopped               // it came in and was not delivered
	delivered             // or so it would be to a tunnel end
)

// OrReversePath ends the cause of a finding that rp_filter could have, too.
const OrReversePath = ", or rp_filter"

func (c Came) fate(id uint32, to string) fate {
	if c.Unsent[id] != nil {
		return unsent
	}
	ok, came := c.Heard[to][id]
	switch {
	case ok:
		return delivered
	case came:
		return stopped
	}
	return lost
}

// way is what the datagrams between two hosts, in one direction, showed.
type way struct {
	small, plain, full Attempt
	ladder             []Attempt
}

// datagrams judges the ways between hosts, port by port.
func (j *judge) datagrams() {
	byPort := map[int]map[pair]*way{}
	var ports []int
	for _, a := range j.Try.Attempts {
		if a.To == "" || !j.takesPart(a.From) || !j.takesPart(a.To) {
			continue
		}
		ways := byPort[a.Port]
		if ways == nil {
			ways = map[pair]*way{}
			byPort[a.Port] = ways
			ports = append(ports, a.Port)
		}
		w := ways[pair{a.From, a.To}]
		if w == nil {
			w = &way{}
			ways[pair{a.From, a.To}] = w
		}
		switch {
		case a.Plain:
			w.plain = a
		case a.Size == 0:
			w.small = a
		case w.full.Size == 0:
			w.full = a // comes before the ladder
		default:
			w.ladder = append(w.ladder, a)
		}
	}
	for _, port := range ports {
		j.port(port, byPort[port])
	}
}

// takesPart tells whether a host was there to send and to listen.
func (j *judge) takesPart(host string) bool {
	seen := j.Seen[host]
	return seen.Check != nil && seen.Check.Deaf == nil && !seen.Gone
}

// port judges all ways by one port: each by the first thing that is wrong.
func (j *judge) port(port int, ways map[pair]*way) {
	v := j.verdicts(ways)
	for _, g := range among(v.unsent, v.all, from) {
		j.unsent(port, g, ways[pair{g.host, g.others[0]}].small)
	}
	for _, g := range among(v.stopped, v.all, to) {
		j.error("firewall", g.host, fmt.Sprintf("it drops UDP to port %d on the way in: its own firewall does", port)+OrReversePath,
			fmt.Sprintf("datagrams of %s come in at %s and are not delivered", names(g.others), j.Ground.Underlays[g.host].Device),
			fmt.Sprintf("nft insert rule inet filter input udp dport %d accept; or iptables -I INPUT -p udp --dport %d -j ACCEPT", port, port))
	}
	for _, g := range among(v.lost, v.sent, either) {
		j.error("underlay", g.host, fmt.Sprintf("UDP to port %d %s", port, g.between()),
			"none of the datagrams came, with a VXLAN header or without",
			fmt.Sprintf("allow UDP to port %d between the hosts: security groups, firewalls and routes on the way", port))
	}
	for _, g := range among(v.eaten, v.sent, either) {
		j.error("underlay", g.host, fmt.Sprintf("what looks like VXLAN %s", g.between()),
			fmt.Sprintf("UDP to port %d passes without a VXLAN header and not with one", port),
			"a network that makes tunnels itself does that (NSX): give the networks another port")
	}
	for _, g := range among(v.narrow, v.passes, either) {
		j.narrow(port, g, ways)
	}
}

// verdicts are the ways by one port, each by what became of its datagrams.
type verdicts struct {
	all, sent, passes                    []pair // what let nothing out says nothing of the way, what let nothing through nothing of sizes
	unsent, stopped, lost, eaten, narrow map[pair]bool
}

func (j *judge) verdicts(ways map[pair]*way) verdicts {
	v := verdicts{
		all:    slices.SortedFunc(maps.Keys(ways), byName),
		unsent: map[pair]bool{}, stopped: map[pair]bool{}, lost: map[pair]bool{}, eaten: map[pair]bool{}, narrow: map[pair]bool{},
	}
	for _, p := range v.all {
		w := ways[p]
		small := j.Came.fate(w.small.ID, p.to)
		if small != unsent {
			v.sent = append(v.sent, p)
		}
		switch small {
		case unsent:
			v.unsent[p] = true
		case stopped:
			v.stopped[p] = true
		case lost:
			if j.Came.fate(w.plain.ID, p.to) == delivered {
				v.eaten[p] = true
			} else {
				v.lost[p] = true
			}
		case delivered:
			v.passes = append(v.passes, p)
			if j.Came.fate(w.full.ID, p.to) != delivered {
				v.narrow[p] = true
			}
		}
	}
	return v
}

// unsent finds why g's host does not let datagrams out, small among them.
func (j *judge) unsent(port int, g blame, small Attempt) {
	err := j.Came.Unsent[small.ID]
	if errors.Is(err, hostapi.ErrPermission) {
		j.error("firewall", g.host, fmt.Sprintf("its own firewall drops UDP to port %d on the way out", port),
			fmt.Sprintf("datagrams to %s: %s", names(g.others), err.Message),
			fmt.Sprintf("nft insert rule inet filter output udp dport %d accept; or iptables -I OUTPUT -p udp --dport %d -j ACCEPT", port, port))
		return
	}
	j.error("underlay", g.host, fmt.Sprintf("it cannot send from its tunnel address to %s", names(g.others)),
		fmt.Sprintf("UDP to port %d: %s", port, err.Message), fmt.Sprintf("look at its routes: ip route get %s", small.Datagram.To))
}

// narrow finds how much passes on g's ways, which do not carry a full packet.
func (j *judge) narrow(port int, g blame, ways map[pair]*way) {
	least, full := 0, 0
	for _, p := range g.pairs {
		w, carries := ways[p], 0
		for _, a := range w.ladder {
			if j.Came.fate(a.ID, p.to) == delivered {
				carries = max(carries, a.Size)
			}
		}
		if least == 0 || carries < least {
			least = carries
		}
		full = w.full.Size
	}
	proof := fmt.Sprintf("packets of %d bytes that must not be fragmented are lost", full)
	if least > 0 {
		proof += fmt.Sprintf(", of %d they come", least)
	}
	j.error("mtu", g.host, fmt.Sprintf("a full packet %s", g.between()), proof,
		j.mtuMend(port, least, full, j.Ground.Underlays[g.host].Overhead()))
}

// mtuMend says how the networks of a port come to fit a way.
func (j *judge) mtuMend(port, carried, full, overhead int) string {
	var lines []string
	for _, n := range j.Ground.Networks {
		if n.Port == port && n.MTU+overhead > carried {
			lines = append(lines, "networks."+n.Name+".mtu")
		}
	}
	if carried == 0 {
		return fmt.Sprintf("raise the mtu on the way to %d", full)
	}
	return fmt.Sprintf("set %s to %d, or raise the mtu on the way to %d", strings.Join(lines, ", "), carried-overhead, full)
}

func names(hosts []string) string {
	const enough = 4
	if len(hosts) > enough {
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:enough], ", "), len(hosts)-enough)
	}
	return strings.Join(hosts, ", ")
}
