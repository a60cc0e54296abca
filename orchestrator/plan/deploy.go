package plan

import (
	"net/netip"
	"slices"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

// Names of the phases, as reports show them.
const (
	PhaseVTEP      = "vtep"
	PhaseVTEPProof = "vtep-proof"
	PhaseBuild     = "build"
	PhaseProof     = "proof"
	PhaseVM        = "vm"
	PhaseGuest     = "guest"
	PhaseVMProof   = "vm-proof"
	PhaseTeardown  = "teardown"
)

// proofLifetime is for how long the VTEP proof's addresses stand if nobody
// takes them away: longer than a dead host can hold the proof up.
const proofLifetime = 60 * time.Second

// Deploy plans what brings the hosts that facts were gathered from to what lab
// asks for. It keeps the seed's order: VTEPs with temporary addresses, the proof
// over them, then bridges and containers and their proof, then the VMs, which
// take their time, and theirs. Problems, if any, are all there are, and the plan
// is then empty.
func Deploy(lab *inventory.Lab, facts map[string]hostapi.Facts, in Inputs) (Plan, []*Problem) {
	d := newDeployment(lab, facts, in)
	if len(d.hosts) == 0 {
		return Plan{}, nil
	}
	d.settle()
	if len(d.problems) == 0 {
		for _, host := range d.hosts {
			d.refuseForeign(host)
			d.refuseClashes(host)
			d.refuseForeignVirt(host)
		}
	}
	if len(d.problems) > 0 {
		return Plan{}, d.problems
	}
	return d.plan(), nil
}

func newDeployment(lab *inventory.Lab, facts map[string]hostapi.Facts, in Inputs) *deployment {
	d := &deployment{
		lab: lab, facts: facts, inputs: in, underlays: map[string]underlay{}, standIns: map[string]underlay{},
		taken: map[object]*Problem{}, newBridges: map[hostNetwork]bool{},
	}
	for _, host := range lab.Hosts {
		if _, ok := facts[host.Name]; ok {
			d.hosts = append(d.hosts, host.Name)
		}
	}
	return d
}

type deployment struct {
	lab       *inventory.Lab
	facts     map[string]hostapi.Facts
	inputs    Inputs
	hosts     []string // with facts, in the lab's order
	underlays map[string]underlay
	standIns  map[string]underlay // of hosts that are not at hand, as last known
	networks  []settledNetwork
	problems  []*Problem
	taken     map[object]*Problem // those of wanted names that are not the lab's

	newBridges map[hostNetwork]bool // that this plan makes
}

type hostNetwork struct{ host, network string }

// settledNetwork is a network with all that the hosts had to tell.
type settledNetwork struct {
	inventory.Network
	mtu       int
	group     netip.Addr       // zero unless flooding is by multicast
	why       string           // why flooding is as it is, where the inventory left it open
	endpoints []hostapi.Remote // of static flooding: where everything is
}

// settle fills in what the inventory leaves to the hosts.
func (d *deployment) settle() {
	for _, host := range d.hosts {
		u, problem := findUnderlay(d.lab.Host(host), d.facts[host])
		if problem != nil {
			d.problems = append(d.problems, problem)
			continue
		}
		d.underlays[host] = u
	}
	if len(d.problems) > 0 {
		return
	}
	d.standIn()
	for _, network := range d.lab.Networks {
		mtu, problem := d.settleMTU(network)
		if problem != nil {
			d.problems = append(d.problems, problem)
		}
		group, problem := settleGroup(network, d.hosts, d.underlays)
		if problem != nil {
			d.problems = append(d.problems, problem)
		}
		settled := settledNetwork{Network: network, mtu: mtu}
		settled.Flood, settled.why = d.settleFlood(network)
		switch settled.Flood {
		case inventory.FloodMulticast:
			settled.group = group
		case inventory.FloodStatic:
			settled.endpoints = d.endpoints(network)
		}
		d.networks = append(d.networks, settled)
	}
}

// plan needs everything settled and nothing foreign in the way.
func (d *deployment) plan() Plan {
	p := Plan{StandIns: d.takenAsKnown(), Underlays: d.grounds()}
	vteps := Phase{Name: PhaseVTEP, Proof: PhaseVTEPProof, Steps: map[string][]hostapi.Step{}}
	build := Phase{Name: PhaseBuild, Proof: PhaseProof, Steps: map[string][]hostapi.Step{}}
	for _, host := range d.hosts {
		steps, removals := d.removeStale(host)
		vteps.Steps[host] = steps
		p.Removals = append(p.Removals, removals...)
	}
	for _, network := range d.networks {
		p.Networks = append(p.Networks, d.raise(network, &vteps, build))
	}
	for _, container := range d.lab.Containers {
		if _, ok := d.facts[container.Host]; ok {
			build.Steps[container.Host] = append(build.Steps[container.Host], d.container(container)...)
		}
	}
	vms := Phase{Name: PhaseVM, VMs: true, Steps: map[string][]hostapi.Step{}, Blocked: map[string]*hostapi.Error{}}
	guests := Phase{Name: PhaseGuest, VMs: true, Proof: PhaseVMProof, Steps: map[string][]hostapi.Step{}}
	containers, virtual := verify.Mesh(d.lab, d.inputs.Full)
	build.Probes, guests.Probes = verify.Among(d.inputs.Part, containers), verify.Among(d.inputs.Part, virtual)
	p.Phases = []Phase{vteps, build}
	if len(d.lab.VMs) > 0 {
		for _, host := range d.hosts {
			if why := d.lacksForVMs(host); why != nil {
				vms.Blocked[host] = why
				continue
			}
			make, wait, anew := d.vms(host)
			p.Removals = append(p.Removals, anew...)
			vms.Steps[host] = append(d.virtNetworks(host), make...)
			guests.Steps[host] = wait
		}
		p.Uploads = d.uploads(vms.Steps)
		p.Phases = append(p.Phases, vms, guests)
	}
	return p
}

// raise plans a network's VTEPs and bridges on all hosts: into vteps what stands
// before the proof over them, with the proof, into build what comes after it.
func (d *deployment) raise(network settledNetwork, vteps *Phase, build Phase) Network {
	legs := map[string]tunnel{}
	changed := map[string]bool{}
	for _, host := range d.hosts {
		legs[host] = d.tunnel(host, network)
		changed[host] = legs[host].changed
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
// an address on an enslaved VTEP answers nothing. One that floods nothing is made
// a port at once: the endpoints that it is told of are its bridge's neighbours.
func (d *deployment) tunnel(host string, network settledNetwork) tunnel {
	facts := d.facts[host]
	u := d.underlays[host]
	static := network.Flood == inventory.FloodStatic
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

// step tells what brings seen to what diff compares with; Op is empty if
// nothing. The caller sets the object.
func step[Seen any](seen *Seen, diff func(Seen) ([]hostapi.Change, bool)) hostapi.Step {
	if seen == nil {
		return hostapi.Step{Op: hostapi.Create}
	}
	changes, rebuild := diff(*seen)
	switch {
	case rebuild:
		return hostapi.Step{Op: hostapi.Rebuild, Changes: changes}
	case len(changes) > 0:
		return hostapi.Step{Op: hostapi.Update, Changes: changes}
	}
	return hostapi.Step{}
}

// container plans a namespace and its legs.
func (d *deployment) container(c inventory.Container) []hostapi.Step {
	facts := d.facts[c.Host]
	var steps []hostapi.Step
	seen := findNamespace(facts, c.Netns)
	namespace := hostapi.Namespace{Name: c.Netns, For: c.Name}
	if s := step(seen, namespace.Diff); s.Op != "" {
		s.Namespace = &namespace
		steps = append(steps, s)
	}
	for _, leg := range c.Interfaces {
		network := d.network(leg.Network)
		veth := hostapi.Veth{
			Name: leg.Link, For: c.Name, Bridge: network.Name,
			MAC: inventory.DeriveMAC(d.lab.Name, "veth", c.Name, leg.Link), MTU: network.mtu,
			Netns: c.Netns, Inner: leg.Inner, InnerMAC: leg.MAC,
			Addresses: network.Prefixes(leg),
		}
		var inner *hostapi.Link
		if seen != nil {
			inner = find(seen.Links, func(l *hostapi.Link) bool { return l.Name == leg.Inner })
		}
		s := step(findLink(facts, veth.Name), func(outer hostapi.Link) ([]hostapi.Change, bool) {
			return veth.Diff(outer, inner)
		})
		if s.Op != "" {
			s.Veth = &veth
			steps = append(steps, s)
		}
	}
	return steps
}

func (d *deployment) network(name string) settledNetwork {
	for _, n := range d.networks {
		if n.Name == name {
			return n
		}
	}
	return settledNetwork{}
}

func findNamespace(facts hostapi.Facts, name string) *hostapi.NamespaceFacts {
	return find(facts.Namespaces, func(n *hostapi.NamespaceFacts) bool { return n.Name == name })
}

// find gives the first of all that is; else nil.
func find[T any](all []T, is func(*T) bool) *T {
	for i := range all {
		if is(&all[i]) {
			return &all[i]
		}
	}
	return nil
}

// Request is what the plan needs to know of a host, besides the ways to the
// others.
func Request(lab *inventory.Lab, host string, in Inputs) hostapi.ObserveRequest {
	req := hostapi.ObserveRequest{Lab: lab.Name, Virt: virtQuery(lab, host, in)}
	for _, n := range lab.Networks {
		req.Links = append(req.Links, n.VXLAN, n.Name)
		req.Subnets = append(req.Subnets, n.Subnets()...)
		if !slices.Contains(req.Ports, n.Port) {
			req.Ports = append(req.Ports, n.Port)
		}
	}
	if device := lab.Host(host).Underlay; device != "" {
		req.Links = append(req.Links, device)
	}
	for _, c := range lab.Containers {
		if c.Host != host {
			continue
		}
		req.Namespaces = append(req.Namespaces, c.Netns)
		for _, leg := range c.Interfaces {
			req.Links = append(req.Links, leg.Link)
		}
	}
	return req
}
