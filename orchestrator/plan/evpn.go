package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// Names of the phases that wait for what BGP brings.
const (
	PhaseVTEPRoutes = "vtep-routes"
	PhaseRoutes     = "routes"
	PhaseVMRoutes   = "vm-routes"
)

// routesPatience is how long BGP may take. On hosts that work it needs two
// seconds, most of which a bgpd waits before it speaks.
const routesPatience = 20 * time.Second

// How bgpd keeps its sessions, in seconds. A session that lives keeps its routes,
// and there is nothing to be won by giving one up early: the other reflector has
// told the same, and a MAC that comes up elsewhere is told with a higher number.
const (
	bgpKeepalive = 30
	bgpHold      = 120
	bgpRetry     = 1
)

// evpn tells whether any network of the lab has flood: evpn.
func (d *deployment) evpn() bool { return d.lab.EVPN != nil }

// byBGP tells whether the network's tables are filled by BGP.
func byBGP(network settledNetwork) bool { return network.Flood == inventory.FloodEVPN }

// settleEVPN finds the tunnel ends that the control plane stands on.
func (d *deployment) settleEVPN() {
	if !d.evpn() {
		return
	}
	for _, host := range d.lab.Hosts {
		if local, known := d.tunnelEnd(host.Name); known && local.Is6() {
			d.problems = append(d.problems, &Problem{
				host.Name, fmt.Sprintf("flood: evpn needs an IPv4 underlay, and the tunnel address is %s", local),
				"FRR knows no IPv6 tunnel ends: give the hosts IPv4 ones, or take flood: static",
			})
		}
	}
	reflectors := d.lab.EVPN.Reflectors
	if slices.ContainsFunc(reflectors, func(host string) bool { _, known := d.tunnelEnd(host); return known }) {
		return // the hosts get to know another one by the deploy that does
	}
	d.problems = append(d.problems, &Problem{
		reflectors[0], fmt.Sprintf("no reflector's tunnel address is known (%s), since none is at hand and nothing was deployed to them yet", strings.Join(reflectors, ", ")),
		fmt.Sprintf("deploy to %s too, set hosts.%s.vtep, or name other evpn.reflectors", reflectors[0], reflectors[0]),
	})
}

// refuseFRR finds what keeps the lab's control plane off a host.
func (d *deployment) refuseFRR(host string) {
	seen := d.facts[host].FRR
	if !d.evpn() || seen == nil {
		return
	}
	if d.existing() {
		if p := d.refuseJoin(host, seen); p != nil {
			d.problems = append(d.problems, p)
		}
		return
	}
	if len(seen.Lacking) > 0 {
		d.problems = append(d.problems, &Problem{
			host, fmt.Sprintf("it has no FRR, which flood: evpn needs (missing: %s)", strings.Join(seen.Lacking, ", ")), "`vxorch prepare` installs it",
		})
		return
	}
	for _, other := range seen.Others {
		if other.Name != hostapi.Zebra {
			continue
		}
		d.problems = append(d.problems, &Problem{
			host, fmt.Sprintf("it runs an FRR of its own (%s, pid %d), and a second one beside it would take its routes away", other.Name, other.PID),
			"join that one (evpn.frr: existing), stop it (systemctl disable --now frr), take flood: static, or leave the host out",
		})
		return
	}
	if !slices.Contains(d.lab.EVPN.Reflectors, host) {
		return
	}
	for _, l := range seen.Listeners {
		ours := slices.ContainsFunc(seen.Daemons, func(p hostapi.Process) bool { return p.PID == l.PID })
		local := d.underlays[host].local
		if ours || !l.Address.IsUnspecified() && l.Address != local {
			continue
		}
		d.problems = append(d.problems, portTaken(host, l))
		return
	}
}

func portTaken(host string, by hostapi.PortHolder) *Problem {
	return &Problem{
		host, fmt.Sprintf("tcp port %d, at which it is to listen as a reflector, is held by %s", by.Port, process(by)),
		"set evpn.port to another, name other evpn.reflectors, or stop that process",
	}
}

// controlPlanes plans the lab's FRR on all hosts at hand.
func (d *deployment) controlPlanes() map[string][]hostapi.Step {
	steps := map[string][]hostapi.Step{}
	for _, host := range d.hosts {
		if s := d.controlPlane(host); s != nil {
			steps[host] = s
		}
	}
	if !d.evpn() || len(steps) > 0 {
		return steps
	}
	// All run as planned. One whose entries were taken away does not write them again;
	// those of VTEPs that are about to change come by themselves.
	for _, network := range d.networks {
		if !byBGP(network) || d.newTunnels[network.Name] {
			continue
		}
		knows := map[string]int{}
		for _, host := range d.hosts {
			if vtep := findLink(d.facts[host], network.VXLAN); vtep != nil && vtep.VXLAN != nil {
				knows[host] = vtep.VXLAN.Forwarding.Flood
			}
		}
		quiet := mute(knows, len(d.hosts))
		for host, ends := range knows {
			change := hostapi.Change{Property: "flood list of " + network.VXLAN, From: fmt.Sprint(ends), To: fmt.Sprint(len(d.hosts) - 1)}
			switch {
			case steps[host] != nil:
				continue
			case slices.Contains(quiet, host):
				change.Property, change.From = "hosts that know its "+network.VXLAN, "0"
			case len(quiet) > 0 || ends >= len(d.hosts)-1 || !lags(host, knows):
				continue
			}
			want := d.frr(host)
			want.Anew = true
			steps[host] = []hostapi.Step{{Op: hostapi.Update, FRR: &want, Changes: []hostapi.Change{change}}}
		}
	}
	return steps
}

// mute lists the hosts that hear of the others and are not heard of, as far as numbers
// show it: each host but them knows one fewer than they, which is all that there are
// but them. Fewer than half of the hosts are, or the others would be just as likely; and
// of three hosts two that lack each other look the same.
func mute(knows map[string]int, hosts int) (quiet []string) {
	if len(knows) != hosts || hosts < 4 {
		return nil
	}
	most := slices.Max(slices.Collect(maps.Values(knows)))
	for host, ends := range knows {
		switch ends {
		case most:
			quiet = append(quiet, host)
		case most - 1:
		default:
			return nil
		}
	}
	if most != hosts-len(quiet) || 2*len(quiet) >= hosts {
		return nil
	}
	return quiet
}

// lags tells of a host that knows less than the others whether that is its own
// fault: it knows no tunnel end at all, or at least half of the others know more. Where
// all lack the same one, that one's host is sick, and to begin anew on those that work
// would empty their tables for nothing.
func lags(host string, knows map[string]int) bool {
	more := 0
	for _, ends := range knows {
		if ends > knows[host] {
			more++
		}
	}
	return knows[host] == 0 || 2*more >= len(knows)-1
}

// controlPlane plans the lab's FRR on a host: nothing where it runs as planned.
func (d *deployment) controlPlane(host string) []hostapi.Step {
	if !d.evpn() {
		return nil
	}
	want := d.frr(host)
	var seen *hostapi.FRRFacts
	if f := d.facts[host].FRR; f != nil && f.Mark != nil {
		seen = f
	}
	s := step(seen, func(f hostapi.FRRFacts) ([]hostapi.Change, bool) { return want.Diff(f), false })
	if s.Op == "" {
		return nil
	}
	s.FRR = &want
	return []hostapi.Step{s}
}

// frr is what a host's FRR is to be. It does not depend on who else there is, but
// for reflectors and for hosts outside of these' own subnets: who joins changes
// nothing elsewhere.
func (d *deployment) frr(host string) hostapi.FRR {
	evpn := d.lab.EVPN
	local, _ := d.tunnelEnd(host)
	w := hostapi.FRR{Local: local, Password: d.inputs.Password, Existing: evpn.Existing}
	reflects := slices.Contains(evpn.Reflectors, host)
	if reflects {
		w.Port = evpn.Port
	}
	if w.Existing {
		w.Config = d.joined(host, w, reflects)
		return w
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("log syslog warnings")
	line("bgp route-map delay-timer 0") // or what comes first waits 5 s for a map that is just read
	for _, network := range d.networks {
		if byBGP(network) {
			// By the route target that FRR makes of a VNI: `match evpn vni` sees no flood lists.
			line("bgp extcommunity-list standard lab permit rt %d:%d", evpn.ASN&0xffff, network.VNI)
		}
	}
	line("route-map lab permit 1")
	line(" match extcommunity lab")
	line("router bgp %d", evpn.ASN)
	line(" bgp router-id %s", local)
	line(" no bgp default ipv4-unicast")
	line(" coalesce-time 50") // milliseconds; a second if it is not said
	d.group(line, "reflectors", w)
	d.members(line, host, "reflectors")
	if reflects {
		d.group(line, "clients", w)
		line(" bgp listen limit %d", maxClients)
		for _, prefix := range d.clients(host) {
			line(" bgp listen range %s peer-group clients", prefix)
		}
	}
	line(" address-family l2vpn evpn")
	activate(line, "reflectors", "lab")
	if reflects {
		activate(line, "clients", "lab")
		line("  neighbor clients route-reflector-client")
	}
	line("  advertise-all-vni")
	line(" exit-address-family")
	w.Config = b.String()
	return w
}

// printer writes one line of a configuration.
type printer func(format string, args ...any)

// group tells of the sessions of one kind.
func (d *deployment) group(line printer, name string, w hostapi.FRR) {
	line(" neighbor %s peer-group", name)
	line(" neighbor %s remote-as %d", name, d.lab.EVPN.ASN)
	line(" neighbor %s update-source %s", name, w.Local)
	line(" neighbor %s timers %d %d", name, bgpKeepalive, bgpHold)
	line(" neighbor %s timers connect %d", name, bgpRetry)
	if w.Password != "" {
		line(" neighbor %s password %s", name, hostapi.PasswordHere)
	}
}

// members tells a host of the reflectors that it is to speak with.
func (d *deployment) members(line printer, host, group string) {
	for _, reflector := range d.lab.EVPN.Reflectors {
		if end, known := d.tunnelEnd(reflector); known && reflector != host {
			line(" neighbor %s peer-group %s", end, group)
			line(" neighbor %s port %d", end, d.lab.EVPN.Port)
		}
	}
}

// activate has sessions carry EVPN. Whatever else the host or another has: no VNI but
// the lab's is told or heard of.
func activate(line printer, group, filter string) {
	line("  neighbor %s activate", group)
	line("  neighbor %s route-map %s in", group, filter)
	line("  neighbor %s route-map %s out", group, filter)
}

// maxClients is the most sessions that FRR lets a reflector take.
const maxClients = 5000

// clients are the subnets from which a reflector takes sessions: its own, unless
// the inventory names others, and the tunnel ends that are elsewhere.
func (d *deployment) clients(reflector string) []netip.Prefix {
	if given := d.lab.EVPN.Clients; len(given) > 0 {
		return given
	}
	var prefixes []netip.Prefix
	own, _ := d.ground(reflector)
	if own.subnet.Contains(own.local) {
		prefixes = append(prefixes, own.subnet)
	}
	for _, host := range d.lab.Hosts {
		if end, known := d.tunnelEnd(host.Name); known && end != own.local && !own.subnet.Contains(end) {
			prefixes = append(prefixes, netip.PrefixFrom(end, end.BitLen()))
		}
	}
	return prefixes
}

// arrival plans the wait for what the others are to have told a host: their tunnel
// ends and the endpoints of legs, on the hosts at hand. With legs the host's own are
// told, too.
func (d *deployment) arrival(host string, legs func(host string) []endpoint) []hostapi.Step {
	var steps []hostapi.Step
	for _, network := range d.networks {
		if !byBGP(network) {
			continue
		}
		r := hostapi.Routes{VTEP: network.VXLAN, Bridge: network.Name, Patience: routesPatience}
		for _, other := range d.hosts {
			end := d.underlays[other].local
			if other != host {
				r.Ends = append(r.Ends, end)
			}
			for _, e := range legs(other) {
				switch {
				case e.leg.Network != network.Name:
				case other == host:
					r.Own = append(r.Own, hostapi.Station{MAC: e.leg.MAC, Link: e.leg.Link})
				default:
					r.Remotes = append(r.Remotes, hostapi.Learned{For: e.name, MAC: e.leg.MAC, Via: end})
				}
			}
		}
		if len(r.Ends)+len(r.Own) > 0 {
			steps = append(steps, hostapi.Step{Op: hostapi.Await, Routes: &r})
		}
	}
	return steps
}

// endpoint is one leg of a workload.
type endpoint struct {
	name string
	leg  inventory.Interface
}

func noEndpoints(string) []endpoint { return nil }

func (d *deployment) containersOf(host string) (all []endpoint) {
	for _, c := range d.lab.Containers {
		for _, leg := range c.Interfaces {
			if c.Host == host {
				all = append(all, endpoint{c.Name, leg})
			}
		}
	}
	return all
}

func (d *deployment) vmsOf(host string) (all []endpoint) {
	for _, vm := range d.vmsOn(host) {
		for _, leg := range vm.Interfaces {
			all = append(all, endpoint{vm.Name, leg})
		}
	}
	return all
}

// withRoutes puts before the proof of a phase, which passes it on, the wait for
// what BGP brings once every host has done its part: where the lab has such
// networks and the plan so far changes anything.
func (d *deployment) withRoutes(phases []Phase, name string, legs func(host string) []endpoint) []Phase {
	changes := Plan{Phases: phases}.Changes() > 0
	if !d.evpn() || !changes {
		return phases
	}
	last := &phases[len(phases)-1]
	wait := Phase{Name: name, Barrier: true, VMs: last.VMs, Proof: last.Proof, Probes: last.Probes, Steps: map[string][]hostapi.Step{}}
	last.Proof, last.Probes = "", nil
	for _, host := range d.hosts {
		wait.Steps[host] = d.arrival(host, legs)
	}
	return append(phases, wait)
}
