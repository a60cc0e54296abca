package verify

import (
	"cmp"
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// How many questions a lab is worth that nobody is to answer: what leaks between two
// networks leaks between most of their hosts.
const (
	isolations    = 512 // of a lab
	isolatedHosts = 16  // pairs of hosts of two networks that are all asked
)

// Isolation gives the proofs that networks are apart: from an end in the one it is
// asked on layer 2, where no subnet counts, who has the address of an end in the
// other, on each host that has both and from host to host. first are those between
// containers, then come those with a VM at an end. Of many hosts and many networks
// it is a choice that touches every one, unless full asks for all.
func Isolation(lab *inventory.Lab, full bool) (containers, vms []Pair) {
	all := networkPairs(len(lab.Networks))
	most := isolations / max(len(all), 1)
	if !full && most == 0 {
		all, most = all[:isolations], 1
	}
	ends := endpoints(lab)
	members := make([]map[string][]station, len(lab.Networks)) // by host
	networks := map[string]int{}                               // by end, how many it is in
	for i, n := range lab.Networks {
		members[i] = map[string][]station{}
		for _, s := range stationsOf(ends, n.Name) {
			members[i][s.host] = append(members[i][s.host], s)
			networks[s.name]++
		}
	}
	for turn, pair := range all {
		from, to := members[pair[0]], members[pair[1]]
		chosen := hostsApart(sortedHosts(from), sortedHosts(to), full, turn)
		if !full {
			chosen = chosen[:min(len(chosen), most)]
		}
		for _, hosts := range chosen {
			p, ok := apart(from[hosts[0]], to[hosts[1]], networks)
			switch {
			case !ok:
			case p.FromVM != "" || p.ToVM != "":
				vms = append(vms, p)
			default:
				containers = append(containers, p)
			}
		}
	}
	return containers, vms
}

// networkPairs gives every pair of n networks, as indices, neighbours first: the
// beginning of it touches all.
func networkPairs(n int) [][2]int {
	var pairs [][2]int
	for distance := 1; 2*distance <= n; distance++ {
		for i := range n {
			if 2*distance == n && i >= distance {
				break // the same pairs from the other side
			}
			j := (i + distance) % n
			pairs = append(pairs, [2]int{min(i, j), max(i, j)})
		}
	}
	return pairs
}

func sortedHosts(members map[string][]station) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// hostsApart gives pairs of hosts of two networks, those that are one host first,
// beginning at another place each turn: all, or of many each with the next.
func hostsApart(from, to []string, full bool, turn int) [][2]string {
	var same, others [][2]string
	for i := range from {
		x := from[(i+turn)%len(from)]
		if slices.Contains(to, x) {
			same = append(same, [2]string{x, x})
		}
		if full || len(from)*len(to) <= isolatedHosts {
			for _, y := range to {
				if x != y {
					others = append(others, [2]string{x, y})
				}
			}
			continue
		}
		next, found := slices.BinarySearch(to, x)
		if found {
			next++
		}
		if y := to[next%len(to)]; x != y {
			others = append(others, [2]string{x, y})
		}
	}
	return append(same, others...)
}

// apart chooses an end each: containers if there are, and of these what is in the
// fewest networks. In the name of a VM its bridge asks: consoles know no ARP.
func apart(from, to []station, networks map[string]int) (Pair, bool) {
	best := func(stations []station) station {
		return slices.MinFunc(stations, func(a, b station) int {
			return cmp.Or(compareBool(a.vm, b.vm), cmp.Compare(networks[a.name], networks[b.name]))
		})
	}
	s, t := best(from), best(to)
	if s.name == t.name {
		if i := slices.IndexFunc(to, func(other station) bool { return other.name != s.name }); i >= 0 {
			t = to[i]
		} else if i := slices.IndexFunc(from, func(other station) bool { return other.name != t.name }); i >= 0 {
			s = from[i]
		} else {
			return Pair{}, false
		}
	}
	p := s.pair(t, t.leg.Address)
	p.Stage, p.Unreachable, p.Apart, p.ToNetwork, p.MAC = report.StageIsolation, true, true, t.leg.Network, t.leg.MAC
	p.Link, p.Guest, p.Mute = s.leg.Inner, nil, ""
	if s.vm {
		p.Link = s.leg.Network
	}
	return p, true
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// judgeIsolation is Judge's for the proof that networks are apart.
func (p Pair) judgeIsolation(r hostapi.ProbeResult, row *report.Probe) {
	row.Result = report.Fail
	switch {
	case r.Received > 0:
		row.Error, row.Hint = "it answers, although it is in another network", ""
	case r.Error != nil:
		row.Error = "nothing is proved: " + r.Error.Message
	default:
		row.Result = report.Pass
	}
}
