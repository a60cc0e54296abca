package plan

import (
	"slices"

	"vxorch/remote/hostapi"
)

// Destroy plans the removal of everything that bears the lab's mark on the hosts
// that facts were gathered from. It goes by the marks alone and needs no
// inventory.
func Destroy(lab string, facts map[string]hostapi.Facts) Plan {
	phase := Phase{Name: PhaseTeardown, Steps: map[string][]hostapi.Step{}}
	for host, seen := range facts {
		phase.Steps[host] = teardown(lab, seen, func(string, string) bool { return true })
	}
	return Plan{Phases: []Phase{phase}}
}

// removeStale takes away what bears the lab's mark and is no longer wanted.
func (d *deployment) removeStale(host string) (steps []hostapi.Step, removals []Removal) {
	wanted := map[string]bool{}
	for _, n := range d.networks {
		wanted[n.VXLAN], wanted[n.Name] = true, true
	}
	namespaces := map[string]bool{}
	for _, c := range d.lab.Containers {
		if c.Host != host {
			continue
		}
		namespaces[c.Netns] = true
		for _, leg := range c.Interfaces {
			wanted[leg.Link] = true
		}
	}
	domains, networks := map[string]bool{}, map[string]bool{}
	for _, vm := range d.vmsOn(host) {
		domains[vm.Domain] = true
		for _, leg := range vm.Interfaces {
			networks[leg.Network] = true
		}
	}
	wantedByKind := map[string]map[string]bool{
		hostapi.KindNamespace: namespaces, hostapi.KindDomain: domains, hostapi.KindVirtNetwork: networks,
		hostapi.KindFRR: {hostapi.FRRName: d.evpn()},
	}
	steps = teardown(d.lab.Name, d.facts[host], func(kind, name string) bool {
		if names, ok := wantedByKind[kind]; ok {
			return !names[name]
		}
		return !wanted[name]
	})
	for _, s := range steps {
		kind, name := s.Object()
		// Of several of one name, which only a host that lies can have, the one
		// that the step is for.
		var mark *hostapi.Mark
		switch {
		case s.Namespace != nil:
			mark = find(d.facts[host].Namespaces, func(n *hostapi.NamespaceFacts) bool { return n.Name == name && d.ours(n.Mark) }).Mark
		case s.Domain != nil:
			mark = find(d.facts[host].Virt.Domains, func(w *hostapi.DomainFacts) bool { return w.Name == name && d.ours(w.Mark) }).Mark
		default:
			continue // goes with its workload
		}
		removals = append(removals, Removal{Host: host, Kind: kind, Name: name, Mark: *mark})
	}
	return steps, removals
}

func (d *deployment) ours(m *hostapi.Mark) bool { return m != nil && m.Lab == d.lab.Name }

// teardown removes, in the reverse order of creation, what bears the lab's mark
// and is doomed. A veth goes before its namespace: the kernel would take it away
// with the namespace, but at a time of its own.
func teardown(lab string, facts hostapi.Facts, doomed func(kind, name string) bool) []hostapi.Step {
	var veths, namespaces, bridges, vteps []hostapi.Step
	domains, networks := teardownVirt(lab, facts.Virt, doomed)
	for _, l := range facts.Links {
		if l.Mark == nil || l.Mark.Lab != lab {
			continue
		}
		switch l.Kind {
		case "vxlan":
			if doomed(hostapi.KindVTEP, l.Name) {
				vteps = append(vteps, hostapi.Step{Op: hostapi.Remove, VTEP: &hostapi.VTEP{Name: l.Name, For: l.Mark.For}})
			}
		case "bridge":
			if doomed(hostapi.KindBridge, l.Name) {
				bridges = append(bridges, hostapi.Step{Op: hostapi.Remove, Bridge: &hostapi.Bridge{Name: l.Name, For: l.Mark.For}})
			}
		default:
			if doomed(hostapi.KindVeth, l.Name) {
				veths = append(veths, hostapi.Step{Op: hostapi.Remove, Veth: &hostapi.Veth{Name: l.Name, For: l.Mark.For}})
			}
		}
	}
	for _, n := range facts.Namespaces {
		if n.Mark != nil && n.Mark.Lab == lab && doomed(hostapi.KindNamespace, n.Name) {
			namespaces = append(namespaces, hostapi.Step{Op: hostapi.Remove, Namespace: &hostapi.Namespace{Name: n.Name, For: n.Mark.For}})
		}
	}
	var frr []hostapi.Step
	if f := facts.FRR; f != nil && f.Mark != nil && f.Mark.Lab == lab && doomed(hostapi.KindFRR, hostapi.FRRName) {
		frr = []hostapi.Step{{Op: hostapi.Remove, FRR: &hostapi.FRR{}}}
	}
	return slices.Concat(domains, networks, veths, namespaces, frr, bridges, vteps)
}

func teardownVirt(lab string, facts *hostapi.VirtFacts, doomed func(kind, name string) bool) (domains, networks []hostapi.Step) {
	if facts == nil {
		return nil, nil
	}
	for _, d := range facts.Domains {
		if d.Mark != nil && d.Mark.Lab == lab && doomed(hostapi.KindDomain, d.Name) {
			domains = append(domains, hostapi.Step{Op: hostapi.Remove, Domain: &hostapi.Domain{Name: d.Name, For: d.Mark.For}})
		}
	}
	for _, n := range facts.Networks {
		if n.Mark != nil && n.Mark.Lab == lab && doomed(hostapi.KindVirtNetwork, n.Name) {
			networks = append(networks, hostapi.Step{Op: hostapi.Remove, VirtNetwork: &hostapi.VirtNetwork{Name: n.Name, For: n.Mark.For}})
		}
	}
	return domains, networks
}

// Remains lists what still bears the lab's mark or intent, and who else works
// for it, for people.
func Remains(lab string, facts hostapi.Facts) []string {
	var remains []string
	for _, s := range teardown(lab, facts, func(string, string) bool { return true }) {
		kind, name := s.Object()
		remains = append(remains, kind+" "+name)
	}
	return slices.Concat(remains, facts.Leftovers, facts.Sessions)
}
