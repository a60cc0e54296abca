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
			d.refuseFRR(host)
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
		taken: map[object]*Problem{}, newBridges: map[hostNetwork]bool{}, newTunnels: map[string]bool{},
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
	newTunnels map[string]bool      // networks of which this plan changes a VTEP or a bridge
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
	d.settleEVPN()
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
	for host, steps := range d.controlPlanes() {
		vteps.Steps[host] = append(vteps.Steps[host], steps...)
	}
	for _, container := range d.lab.Containers {
		if _, ok := d.facts[container.Host]; ok {
			build.Steps[container.Host] = append(build.Steps[container.Host], d.container(container)...)
		}
	}
	vms := Phase{Name: PhaseVM, VMs: true, Steps: map[string][]hostapi.Step{}, Blocked: map[string]*hostapi.Error{}}
	guests := Phase{Name: PhaseGuest, VMs: true, Proof: PhaseVMProof, Steps: map[string][]hostapi.Step{}}
	containers, virtual := verify.Proofs(d.lab, d.inputs.Full)
	build.Probes, guests.Probes = verify.Among(d.inputs.Part, containers), verify.Among(d.inputs.Part, virtual)
	p.Phases = d.withRoutes([]Phase{vteps}, PhaseVTEPRoutes, noEndpoints)
	p.Phases = d.withRoutes(append(p.Phases, build), PhaseRoutes, d.containersOf)
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
		p.Phases = d.withRoutes(append(p.Phases, vms, guests), PhaseVMRoutes, d.vmsOf)
	}
	return p
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
	if lab.EVPN != nil {
		req.FRR = &hostapi.FRRQuery{}
		if slices.Contains(lab.EVPN.Reflectors, host) {
			req.FRR.Port = lab.EVPN.Port
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
