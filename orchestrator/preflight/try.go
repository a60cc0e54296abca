package preflight

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

const (
	// allPairs is up to how many hosts every pair is tried. Of more, each tries its
	// neighbours in a ring and a few others at random.
	allPairs  = 30
	fewOthers = 3
)

// ladder is IP packet sizes that ways are known to stop at, in bytes, with which
// to find out how much one carries.
var ladder = []int{8950, 4050, 1492, 1480, 1476, 1460, 1450, 1420, 1400, 1350, 1280, 1000, 576}

// Attempt is one datagram of a try: to one host, or to all by multicast.
type Attempt struct {
	From string
	To   string // host; empty: all others
	hostapi.Datagram
}

// Try is what is to be sent.
type Try struct {
	Attempts []Attempt // in the order of their numbers, from 0
}

// Came is what came of a try.
type Came struct {
	Unsent map[uint32]*hostapi.Error
	Heard  map[string]map[uint32]bool // by host and number: delivered
}

// NewTry derives the datagrams that show whether the underlay carries the lab's
// tunnels between hosts: for every port of its networks a small one and a full
// one with the tunnel's header, one without it, and some sizes between; for every
// multicast group one from each host. seed chooses among many hosts.
func NewTry(ground plan.Ground, hosts []string, seed uint64) Try {
	var t Try
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return !ground.Underlays[h].Local.IsValid() })
	slices.Sort(hosts)
	if len(hosts) < 2 {
		return t
	}
	full := map[int]int{} // by port: the largest packet
	var ports []int
	for _, n := range ground.Networks {
		if full[n.Port] == 0 {
			ports = append(ports, n.Port)
		}
		full[n.Port] = max(full[n.Port], n.MTU+ground.Underlays[hosts[0]].Overhead())
	}
	for _, port := range ports {
		for _, p := range pairs(hosts, seed) {
			to := ground.Underlays[p.to].Local
			t.add(p.from, p.to, hostapi.Datagram{To: to, Port: port})
			t.add(p.from, p.to, hostapi.Datagram{To: to, Port: port, Plain: true})
			t.add(p.from, p.to, hostapi.Datagram{To: to, Port: port, Size: full[port]})
			for _, size := range ladder {
				if size < full[port] {
					t.add(p.from, p.to, hostapi.Datagram{To: to, Port: port, Size: size})
				}
			}
		}
	}
	t.addGroups(ground, hosts)
	return t
}

// NewGroupTry derives the datagrams that show whether multicast passes between
// hosts, and no others.
func NewGroupTry(ground plan.Ground, hosts []string) Try {
	var t Try
	hosts = slices.Sorted(slices.Values(hosts))
	t.addGroups(ground, hosts)
	return t
}

func (t *Try) addGroups(ground plan.Ground, hosts []string) {
	for _, g := range groups(ground) {
		for _, from := range hosts {
			t.add(from, "", hostapi.Datagram{To: g.address, Port: g.port})
		}
	}
}

// GroupPasses tells whether, in a try between hosts, a network's group reached
// everybody from everybody.
func (t Try) GroupPasses(network inventory.Network, hosts []string, came Came) bool {
	for _, a := range t.Attempts {
		if a.To != "" || a.Datagram.To != network.Group || a.Port != network.Port {
			continue
		}
		for _, to := range hosts {
			if to != a.From && !came.Heard[to][a.ID] {
				return false
			}
		}
	}
	return true
}

func (t *Try) add(from, to string, d hostapi.Datagram) {
	d.ID = uint32(len(t.Attempts))
	t.Attempts = append(t.Attempts, Attempt{from, to, d})
}

// group is what a network with multicast uses.
type group struct {
	address netip.Addr
	port    int
}

func groups(ground plan.Ground) []group {
	var out []group
	for _, n := range ground.Networks {
		if g := (group{n.Group, n.Port}); n.Flood == inventory.FloodMulticast && n.Group.IsValid() && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// pair is a direction between two hosts.
type pair struct{ from, to string }

func byName(a, b pair) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) }

// pairs gives the pairs of hosts, which are sorted, to try: both directions of
// each.
func pairs(hosts []string, seed uint64) []pair {
	var out []pair
	if len(hosts) <= allPairs {
		for _, from := range hosts {
			for _, to := range hosts {
				if from != to {
					out = append(out, pair{from, to})
				}
			}
		}
		return out
	}
	random := rand.New(rand.NewPCG(seed, 0))
	chosen := map[pair]bool{}
	both := func(a, b int) {
		if a != b {
			chosen[pair{hosts[a], hosts[b]}], chosen[pair{hosts[b], hosts[a]}] = true, true
		}
	}
	for i := range hosts {
		both(i, (i+1)%len(hosts))
		for range fewOthers {
			both(i, random.IntN(len(hosts)))
		}
	}
	for p := range chosen {
		out = append(out, p)
	}
	slices.SortFunc(out, byName)
	return out
}

// Listen is what a host has to listen for.
func Listen(token string, ground plan.Ground, host string) *hostapi.Listen {
	u := ground.Underlays[host]
	if !u.Local.IsValid() || len(ground.Networks) == 0 {
		return nil
	}
	l := &hostapi.Listen{Token: token, Device: u.Device, Local: u.Local}
	for _, g := range groups(ground) {
		if !slices.Contains(l.Groups, g.address) {
			l.Groups = append(l.Groups, g.address)
		}
	}
	return l
}

// Outgoing are the datagrams that a host sends of those with numbers in ids; nil:
// of all.
func (t Try) Outgoing(host string, ids map[uint32]bool) []hostapi.Datagram {
	var out []hostapi.Datagram
	for _, a := range t.Attempts {
		if a.From == host && (ids == nil || ids[a.ID]) {
			out = append(out, a.Datagram)
		}
	}
	return out
}

// Incoming are the numbers of the datagrams that should reach a host.
func (t Try) Incoming(host string) []uint32 {
	var out []uint32
	for _, a := range t.Attempts {
		if a.To == host || a.To == "" && a.From != host {
			out = append(out, a.ID)
		}
	}
	return out
}

// Missing are the numbers of the datagrams that hosts have not delivered, but
// could have been sent: a single one that is lost proves nothing yet.
func (t Try) Missing(came Came, hosts []string) map[uint32]bool {
	out := map[uint32]bool{}
	for _, host := range hosts {
		for _, id := range t.Incoming(host) {
			if !came.Heard[host][id] && came.Unsent[id] == nil {
				out[id] = true
			}
		}
	}
	return out
}

// Passes tells whether a small datagram with a tunnel's header was delivered.
func (t Try) Passes(from, to string, port int, came Came) bool {
	return slices.ContainsFunc(t.Attempts, func(a Attempt) bool {
		return a.From == from && a.To == to && a.Port == port && a.Size == 0 && !a.Plain && came.fate(a.ID, to) == delivered
	})
}
